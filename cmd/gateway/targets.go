package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/proxy"
)

// loadTest is an attack of vegeta.
type loadTest struct {
	to, config string
	routes     []string // names; none: all
	values     []string // NAME=VALUE,… for path values
	clients    int
	rate       int // a second
	duration   time.Duration
}

func newTargetsVerb() *cobra.Command {
	var a loadTest
	cmd := &cobra.Command{
		Use:   "targets",
		Short: "Print targets for vegeta, and what to expect of them",
		Long: "Print the routes of a policy that take GET, as targets for vegeta, in turn. Comments say what to expect of an attack\n" +
			"with that rate and duration: it goes through the gateway's code with an empty cache, full limits, and an upstream that\n" +
			"answers 200 at once. Path values count from 1; --value sets those that the backend knows. Limits count one client,\n" +
			"unless --clients makes it more: their X-Forwarded-For is believed from server.trusted_proxies alone.",
		Example: "  gateway targets --rate 100 --duration 10s | vegeta attack -rate 100 -duration 10s | vegeta report",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadPolicy(a.config)
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), s)
		},
	}
	configFlag(cmd, &a.config)
	flags := cmd.Flags()
	flags.StringVar(&a.to, "to", "", "the gateway's URL (default: by server.listen)")
	flags.StringArrayVar(&a.routes, "route", nil, "this route alone; may be repeated")
	flags.StringArrayVar(&a.values, "value", nil, "values for a wildcard of paths, NAME=VALUE,VALUE; may be repeated")
	flags.IntVar(&a.clients, "clients", 1, "how many clients it comes from")
	flags.IntVar(&a.rate, "rate", 50, "requests a second, as for vegeta")
	flags.DurationVar(&a.duration, "duration", 10*time.Second, "how long, as for vegeta")
	return cmd
}

const (
	// defaultValues is how many values a wildcard has, maxTargets how many targets there are at most, and maxAttack
	// how many requests are tried out.
	defaultValues, maxTargets, maxAttack = 5, 10_000, 1_000_000
	// expectedMemory stands for a Redis that holds the responses alone.
	expectedMemory policy.Size = 256 << 20
)

func (a *loadTest) print(w io.Writer, s *policy.Snapshot) error {
	if a.rate < 1 || a.duration <= 0 || a.clients < 1 || a.clients > 1<<16 || float64(a.rate)*a.duration.Seconds() > maxAttack {
		return usage(fmt.Errorf("want a rate and a duration of at most %d requests in all, and from 1 to 65536 clients", maxAttack))
	}
	base := cmp.Or(a.to, listenURL(&s.Policy.Server))
	target, err := url.Parse(base)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" || strings.Trim(target.Path, "/") != "" {
		return usage(fmt.Errorf("--to %q: want http://HOST:PORT", base))
	}
	paths, left, err := a.paths(s)
	if err != nil {
		return usage(err)
	}
	if len(paths) == 0 {
		return fmt.Errorf("there is nothing to ask for: %s take no GET", strings.Join(left, ", "))
	}
	mix, err := a.expect(s, target, paths)
	if err != nil {
		return err
	}
	var b strings.Builder
	clients := "one client"
	if a.clients > 1 {
		clients = fmt.Sprintf("%d clients", a.clients)
	}
	fmt.Fprintf(&b, "# %d/s for %s from %s: expect %s\n", a.rate, a.duration, clients, mix)
	if len(left) > 0 {
		fmt.Fprintf(&b, "# no targets of %s: they take no GET\n", strings.Join(left, ", "))
	}
	for i := range max(len(paths), a.clients) {
		fmt.Fprintf(&b, "GET %s%s\n", strings.TrimSuffix(base, "/"), paths[i%len(paths)])
		if a.clients > 1 {
			fmt.Fprintf(&b, "X-Forwarded-For: %s\n", clientOf(i%a.clients))
		}
		b.WriteByte('\n')
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// clientOf is the address of a client, of the network for benchmarks (RFC 2544).
func clientOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }

// listenURL is where a gateway with that policy is reached from this machine.
func listenURL(p *policy.Server) string {
	scheme := map[bool]string{true: "https://", false: "http://"}[p.TLS != nil]
	for _, address := range p.Listen {
		host, port, err := net.SplitHostPort(address)
		if err != nil || strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "systemd:") {
			continue
		}
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			host = "localhost"
		}
		return scheme + net.JoinHostPort(host, port)
	}
	return ""
}

// paths returns the paths to ask for, the routes in turn, and the names of routes without any.
func (a *loadTest) paths(s *policy.Snapshot) (paths, left []string, err error) {
	values := map[string][]string{}
	for _, text := range a.values {
		name, list, ok := strings.Cut(text, "=")
		if !ok || name == "" || list == "" {
			return nil, nil, fmt.Errorf("--value %q: want NAME=VALUE,VALUE", text)
		}
		values[name] = strings.Split(list, ",")
	}
	for _, name := range a.routes {
		if !slices.ContainsFunc(s.Routes, func(r *policy.Route) bool { return r.Name == name }) {
			return nil, nil, fmt.Errorf("the policy has no route %q", name)
		}
	}
	for name := range values {
		if !slices.ContainsFunc(s.Routes, func(r *policy.Route) bool {
			return strings.Contains(r.Pattern, "{"+name+"}") || strings.Contains(r.Pattern, "{"+name+"...}")
		}) {
			return nil, nil, fmt.Errorf("--value %s: no path of the policy has {%s}", name, name)
		}
	}
	var turns [][]string
	for _, r := range s.Routes {
		switch {
		case len(a.routes) > 0 && !slices.Contains(a.routes, r.Name):
		case len(r.Methods) > 0 && !slices.Contains(r.Methods, http.MethodGet):
			left = append(left, r.Name)
		default:
			turns = append(turns, examples(r.Pattern, values))
		}
	}
	for i := 0; i < maxTargets && len(turns) > 0; i++ {
		for _, turn := range turns {
			if i < len(turn) {
				paths = append(paths, turn[i])
			}
		}
	}
	return paths, left, nil
}

// examples returns paths that a pattern matches.
func examples(pattern string, values map[string][]string) []string {
	paths := []string{""}
	for segment := range strings.SplitSeq(strings.TrimPrefix(pattern, "/"), "/") {
		name, wild := strings.CutPrefix(segment, "{")
		texts := []string{segment}
		if wild && segment != "{$}" {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
			if texts = nil; len(values[name]) == 0 {
				for i := range defaultValues {
					texts = append(texts, fmt.Sprint(i+1))
				}
			}
			for _, value := range values[name] {
				texts = append(texts, url.PathEscape(value))
			}
		} else if segment == "{$}" {
			texts = []string{""}
		}
		var longer []string
		for _, path := range paths {
			for _, text := range texts {
				if len(longer) < maxTargets/10 {
					longer = append(longer, path+"/"+text)
				}
			}
		}
		paths = longer
	}
	return paths
}

// expect says what becomes of the requests: it takes them through the layers, over memory and a clock of its own.
func (a *loadTest) expect(s *policy.Snapshot, target *url.URL, paths []string) (string, error) {
	var passed atomic.Int64 // nanoseconds; refreshes in the background ask for the time too
	start := time.Now()
	clock := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	keys, err := peekSecrets(s.Policy)
	if err != nil {
		return "", err
	}
	live := new(policy.Live)
	live.Store(s)
	quiet := slog.New(slog.DiscardHandler)
	tags := cache.NewTags(cache.TagsConfig{})
	counted := &tallied{}
	c := chain{
		observer: &middleware.Observer{Live: live, Log: quiet, Errors: quiet, Metrics: counted, Now: clock},
		hop:      "edge", identity: keys.identity, now: clock, log: quiet,
		cache:     cache.New(cache.Config{Store: &cache.Tiers{Local: memory.NewCache(int64(cmp.Or(s.Policy.Cache.Memory, expectedMemory)), clock), Tags: tags, Now: clock}, Tags: tags, Now: clock, Random: func() float64 { return 0 }}),
		limits:    ratelimit.HandlerConfig{Store: ratelimit.New(ratelimit.Config{Local: ratelimit.NewTable(s.Policy.RateLimit.Keys), Replicas: func() int { return 1 }, Now: clock})},
		upstreams: &proxy.Dry{Targets: func(string, netip.Addr) ([]string, bool) { return []string{"upstream"}, false }, Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Now: clock, Forgetful: true},
	}
	defer c.cache.Close()
	c.sessions = session.New(session.Config{Keys: keys.session, Store: session.NewFailover(session.FailoverConfig{Local: memory.NewSessions(memory.SessionsConfig{Now: clock})}), Now: clock})
	h := c.before(c.forward())
	n := int(float64(a.rate) * a.duration.Seconds())
	for i := range n {
		q := question{method: http.MethodGet, host: target.Host, target: paths[i%len(paths)], tls: new(target.Scheme == "https")}
		r, err := q.request(context.Background(), s)
		if err != nil {
			return "", err
		}
		if a.clients > 1 {
			r.Header.Set("X-Forwarded-For", clientOf(i%max(len(paths), a.clients)%a.clients).String())
		}
		h.ServeHTTP(&discarded{header: http.Header{}}, r)
		passed.Add(int64(time.Second) / int64(a.rate))
	}
	return counted.String(), nil
}

// tallied counts requests by what becomes of them.
type tallied struct {
	uncounted
	n, hits, cached int
	statuses        map[int]int
}

// End implements middleware.Metrics.
func (t *tallied) End(ex *exchange.Exchange, _ time.Duration) {
	if t.statuses == nil {
		t.statuses = map[int]int{}
	}
	t.n++
	t.statuses[ex.Facts.Status]++
	if ex.Facts.Cache != "" {
		t.cached++
	}
	if ex.Facts.Cache == "hit" || ex.Facts.Cache == "stale" {
		t.hits++
	}
}

// String tells the mix.
func (t *tallied) String() string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(t.statuses)) {
		parts = append(parts, fmt.Sprintf("%s %d", share(t.statuses[status], t.n), status))
	}
	return fmt.Sprintf("%s; %s hits on cached routes, %s of all", strings.Join(parts, ", "), share(t.hits, t.cached), share(t.hits, t.n))
}

// discarded is a client that keeps the head of its response.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header              { return d.header }
func (d *discarded) WriteHeader(status int)           { d.status = status }
func (d *discarded) Write(b []byte) (int, error)      { return len(b), nil }
func (d *discarded) SetWriteDeadline(time.Time) error { return nil }
