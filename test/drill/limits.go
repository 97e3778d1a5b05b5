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

// greed is how many times its limit a greedy client requests.
const greed = 6

//go:embed limits.yaml
var limitsPolicy []byte

// Limits sends traffic through all gateways, plays faults in an order drawn by Seed until Length has
// passed or ctx is done, and judges the requests that the backend got.
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

// limitsDrill is a running Limits.
type limitsDrill struct {
	Config
	fleet    fleet
	upstream *upstream
	random   *rand.Rand
	clients  []*limitsClient
	faults   []event
}

// play plays one fault after another; each is played once before any is repeated.
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

// maxAdmissions bounds the recorded admissions of one client.
const maxAdmissions = 1 << 17

// upstream serves the requests that gateways admit, and records them.
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
		return // a health check, not a client of the drill
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

// of returns the admissions of a client in order of arrival.
func (u *upstream) of(client string) []admission {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.SortedFunc(slices.Values(u.by[client]), func(a, b admission) int { return cmp.Compare(a.arrived, b.arrived) })
}

// limitsClient is one client of one route. It uses all gateways in turn.
type limitsClient struct {
	route  *policy.Route
	greedy bool
	stop   func() // ends the attack; the fields below may be read afterwards

	sent, admitted, refused, failed int
	first                           string // first failure
}

func (c *limitsClient) kind() string {
	if c.greedy {
		return "greedy"
	}
	return "polite"
}

// name is the value of X-Client.
func (c *limitsClient) name() string { return c.kind() + strings.ReplaceAll(c.route.Pattern, "/", "-") }

// start sends greed times the rate of the route's tightest limit, or four fifths of that rate if
// polite.
func (c *limitsClient) start(d *limitsDrill) {
	tightest := c.tightest().Quota
	rate := vegeta.Rate{Freq: tightest.Rate * 4, Per: 5 * tightest.Period}
	if c.greedy {
		rate = vegeta.Rate{Freq: greed * tightest.Rate, Per: tightest.Period}
	}
	var turn atomic.Uint64 // shared by the attacker's workers
	c.stop = attack(func(t *vegeta.Target) error {
		g := d.fleet[turn.Add(1)%gateways]
		*t = vegeta.Target{Method: http.MethodGet, URL: g.url + c.route.Pattern, Header: http.Header{
			"X-Client": {c.name()}, "X-Sent": {strconv.FormatInt(int64(d.upstream.now()), 10)},
		}}
		return nil
	}, rate, c.add)
}

// tightest is the limit of the route that refills the slowest.
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
