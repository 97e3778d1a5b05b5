package drill

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// greed is how many times what it may a greedy client asks for.
const greed = 6

//go:embed limits.yaml
var limitsPolicy []byte

// Limits sends traffic through all gateways, plays faults in an order drawn by Seed
// until Length has passed or ctx is done, and judges what the backend got.
func Limits(ctx context.Context, t env.T, cfg Config) (LimitsReport, error) {
	upstream := &upstream{start: time.Now(), by: map[string][]admission{}}
	url, redis := serve(t, upstream), env.Redis(t)
	vars := map[string]string{"UPSTREAM_URL": url}
	snapshot, err := policy.Parse("limits.yaml", limitsPolicy, func(name string) string { return vars[name] })
	if err != nil {
		return LimitsReport{}, err
	}
	site := newSite(t, cfg.Program, limitsPolicy, redis.URL, "", "UPSTREAM_URL="+url)
	d := &limitsDrill{Config: cfg, fleet: site.fleet(), upstream: upstream, random: rand.New(rand.NewPCG(cfg.Seed, 0))}
	for _, r := range snapshot.Routes {
		d.clients = append(d.clients, &limitsClient{route: r, greedy: true}, &limitsClient{route: r})
	}
	cfg.Say(fmt.Sprintf("seed %d, %v, %d gateways", cfg.Seed, cfg.Length, len(d.fleet)))
	for _, c := range d.clients {
		c.start(d)
	}
	err = d.play(ctx, serverFaults(redis))
	for _, c := range d.clients {
		c.stop()
	}
	if err != nil {
		return LimitsReport{}, err
	}
	return d.report(), nil
}

// limitsDrill is a Config at work.
type limitsDrill struct {
	Config
	fleet    fleet
	upstream *upstream
	random   *rand.Rand
	clients  []*limitsClient
	faults   []event
}

// play plays one fault after the other; each comes once before any comes again.
func (d *limitsDrill) play(ctx context.Context, faults []Fault) error {
	if err := d.fleet.awaitUp(nil); err != nil {
		return err
	}
	deadline := time.Now().Add(d.Length)
	for {
		for _, f := range shuffled(faults, d.random) {
			if f.Before != nil {
				f.Before()
			}
			if !sleep(ctx, d.between(1200, 2500)) {
				return ctx.Err()
			}
			if !time.Now().Before(deadline) {
				return nil
			}
			o, err := d.fleet.play(ctx, f, d.between(500, 2500))
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			e := event{o, f.Name, o.from.Sub(d.upstream.start), o.to.Sub(d.upstream.start)}
			d.faults = append(d.faults, e)
			d.Say(e.String())
		}
	}
}

func (d *limitsDrill) between(least, most int) time.Duration {
	return time.Duration(least+d.random.IntN(most-least)) * time.Millisecond
}

// report judges all clients.
func (d *limitsDrill) report() LimitsReport {
	r := LimitsReport{Seed: d.Seed, Gateways: len(d.fleet), Faults: []LimitsEvent{}, Passed: len(d.faults) > 0}
	for _, f := range d.faults {
		r.Faults = append(r.Faults, LimitsEvent{f.name, inMS(f.from), inMS(f.away()), inMS(f.returned), inMS(f.apart)})
	}
	length := d.upstream.now()
	for _, c := range d.clients {
		for _, l := range c.route.Limits {
			row := c.row(l, look(l.Quota, len(d.fleet), d.upstream.of(c.name()), d.faults), length)
			r.Rows = append(r.Rows, row)
			r.Passed = r.Passed && len(row.Problems) == 0
		}
	}
	return r
}

// maxAdmissions bounds what is remembered of one client.
const maxAdmissions = 1 << 17

// upstream serves what gateways admit, and remembers it.
type upstream struct {
	start time.Time

	mu sync.Mutex
	by map[string][]admission // by client; guarded by mu
}

func (u *upstream) now() time.Duration { return time.Since(u.start) }

// ServeHTTP admits every request; X-Client and X-Sent are the drill's.
func (u *upstream) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	sent, err := strconv.ParseInt(r.Header.Get("X-Sent"), 10, 64)
	if err != nil {
		return // no client of the drill: a health check
	}
	u.add(r.Header.Get("X-Client"), admission{time.Duration(sent), u.now()})
}

func (u *upstream) add(client string, a admission) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.by[client]) < maxAdmissions {
		u.by[client] = append(u.by[client], a)
	}
}

// of returns the admissions of a client in the order in which they arrived.
func (u *upstream) of(client string) []admission {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.SortedFunc(slices.Values(u.by[client]), func(a, b admission) int { return cmp.Compare(a.arrived, b.arrived) })
}

// limitsClient is one client of one route, which it asks through all gateways in
// turn.
type limitsClient struct {
	route  *policy.Route
	greedy bool
	stop   func() // ends the attack; then what follows may be read

	sent, admitted, refused, failed int
	first                           string // failure
}

func (c *limitsClient) kind() string {
	if c.greedy {
		return "greedy"
	}
	return "polite"
}

// name is what X-Client says.
func (c *limitsClient) name() string { return c.kind() + strings.ReplaceAll(c.route.Pattern, "/", "-") }

// start sends what the tightest limit of the route admits, times greed, or four
// fifths of it.
func (c *limitsClient) start(d *limitsDrill) {
	tightest := c.tightest().Quota
	rate := vegeta.Rate{Freq: tightest.Rate * 4, Per: 5 * tightest.Period}
	if c.greedy {
		rate = vegeta.Rate{Freq: greed * tightest.Rate, Per: tightest.Period}
	}
	var turn atomic.Uint64 // the attacker's workers share it
	c.stop = attack(func(t *vegeta.Target) error {
		g := d.fleet[turn.Add(1)%gateways]
		*t = vegeta.Target{Method: http.MethodGet, URL: g.url + c.route.Pattern, Header: http.Header{
			"X-Client": {c.name()}, "X-Sent": {strconv.FormatInt(int64(d.upstream.now()), 10)},
		}}
		return nil
	}, rate, c.add)
}

// tightest is the limit of the route that gives back its tokens the slowest.
func (c *limitsClient) tightest() *policy.Limit {
	return slices.MaxFunc(c.route.Limits, func(a, b *policy.Limit) int { return cmp.Compare(a.Quota.Interval(), b.Quota.Interval()) })
}

func (c *limitsClient) add(r *vegeta.Result) {
	c.sent++
	switch {
	case r.Code >= 200 && r.Code < 300:
		c.admitted++
	case r.Code == http.StatusTooManyRequests:
		c.refused++
	default:
		if c.failed++; c.failed == 1 {
			c.first = fmt.Sprint(r.Code, " ", r.Error)
		}
	}
}
