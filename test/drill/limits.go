package drill

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// greed is how many times what it may a greedy client asks for.
const greed = 6

// LimitsConfig configures a drill of the limits; all of it is required.
type LimitsConfig struct {
	Program string        // the gateway
	Length  time.Duration // begin no fault after that
	Seed    uint64        // of the faults
	Say     func(event string)
}

//go:embed limits.yaml
var limitsPolicy []byte

// Limits sends traffic through all gateways, plays faults in an order drawn by Seed
// until Length has passed or ctx is done, and judges what the backend got.
func Limits(ctx context.Context, t env.T, cfg LimitsConfig) (LimitsReport, error) {
	upstream := &upstream{start: time.Now()}
	server := httptest.NewServer(upstream)
	t.Cleanup(server.Close)
	redis := env.Redis(t)
	vars := map[string]string{"UPSTREAM_URL": server.URL}
	snapshot, err := policy.Parse("limits.yaml", limitsPolicy, func(name string) string { return vars[name] })
	if err != nil {
		return LimitsReport{}, err
	}
	site := newSite(t, cfg.Program, limitsPolicy, redis.URL, nil, "UPSTREAM_URL="+server.URL)
	d := &limitsDrill{LimitsConfig: cfg, fleet: site.fleet(), upstream: upstream, random: rand.New(rand.NewPCG(cfg.Seed, 0))}
	for _, r := range snapshot.Routes {
		d.clients = append(d.clients, d.newClient(r, true), d.newClient(r, false))
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

// limitsDrill is a LimitsConfig at work.
type limitsDrill struct {
	LimitsConfig
	fleet    fleet
	upstream *upstream
	random   *rand.Rand
	clients  []*limitsClient
	faults   []event
}

// play plays one fault after the other; each comes once before any comes again.
func (d *limitsDrill) play(ctx context.Context, faults []Fault) error {
	if err := d.fleet.awaitUp(anyway); err != nil {
		return err
	}
	deadline := time.Now().Add(d.Length)
	var deck []Fault
	for {
		if len(deck) == 0 {
			deck = shuffled(faults, d.random)
		}
		f := deck[0]
		deck = deck[1:]
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
		e := newEvent(f.Name, o, d.upstream.start)
		d.faults = append(d.faults, e)
		d.Say(e.String())
	}
}

func (d *limitsDrill) between(least, most int) time.Duration {
	return time.Duration(least+d.random.IntN(most-least)) * time.Millisecond
}

// upstream serves what gateways admit, and remembers it.
type upstream struct {
	start time.Time
	log   admissionLog
}

func (u *upstream) now() time.Duration { return time.Since(u.start) }

// ServeHTTP admits every request; X-Client and X-Sent are the drill's.
func (u *upstream) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	sent, err := strconv.ParseInt(r.Header.Get("X-Sent"), 10, 64)
	if err != nil {
		return // no client of the drill: a health check
	}
	u.log.add(r.Header.Get("X-Client"), admission{time.Duration(sent), u.now()})
}

// limitsClient is one client of one route, which it asks through all gateways in
// turn.
type limitsClient struct {
	name   string // X-Client
	route  *policy.Route
	greedy bool
	stop   func() // ends the attack; then what follows may be read

	sent, admitted, refused, failed int
	first                           string // failure
}

func (d *limitsDrill) newClient(route *policy.Route, greedy bool) *limitsClient {
	kind := "polite"
	if greedy {
		kind = "greedy"
	}
	return &limitsClient{name: kind + strings.ReplaceAll(route.Pattern, "/", "-"), route: route, greedy: greedy}
}

// start sends what the tightest limit of the route admits, times greed, or four
// fifths of it.
func (c *limitsClient) start(d *limitsDrill) {
	tightest := c.tightest().Quota
	rate := vegeta.Rate{Freq: tightest.Rate * 4, Per: 5 * tightest.Period}
	if c.greedy {
		rate = vegeta.Rate{Freq: greed * tightest.Rate, Per: tightest.Period}
	}
	var mu sync.Mutex // the attacker's workers share the turn
	turn := 0
	c.stop = attack(func(t *vegeta.Target) error {
		mu.Lock()
		turn++
		url := d.fleet[turn%len(d.fleet)].url
		mu.Unlock()
		*t = vegeta.Target{Method: http.MethodGet, URL: url + c.route.Pattern, Header: http.Header{
			"X-Client": {c.name}, "X-Sent": {strconv.FormatInt(int64(d.upstream.now()), 10)},
		}}
		return nil
	}, rate, c.add)
}

// tightest is the limit of the route that gives back its tokens the slowest.
func (c *limitsClient) tightest() *policy.Limit {
	tightest := c.route.Limits[0]
	for _, l := range c.route.Limits {
		if l.Quota.Interval() > tightest.Quota.Interval() {
			tightest = l
		}
	}
	return tightest
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
