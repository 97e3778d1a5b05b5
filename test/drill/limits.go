package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
)

const (
	// greed is how many times what it may a greedy client asks for.
	greed = 6
	// limitsReturn is how long the gateways may take to use a Redis that is whole
	// again: one that keeps coming and going is left alone for some seconds.
	limitsReturn = 15 * time.Second
	// settleTime is how long after its return a gateway has brought what it admitted
	// alone in its last moments, with what a decision takes.
	settleTime = 150 * time.Millisecond
)

// LimitsConfig configures a drill of the limits; all of it is required.
type LimitsConfig struct {
	Gateways []LimitsGateway // each believes in as many as there are
	Upstream *Upstream       // of all of them
	Routes   []LimitsRoute
	Faults   []LimitsFault
	Length   time.Duration // begin no fault after that
	Seed     uint64
	Progress func(event string)
}

// LimitsGateway is one gateway process.
type LimitsGateway struct {
	URL    string
	Status func() (failover.Status, error) // its State and its History
}

// LimitsRoute is a path whose limits count requests by their X-Client field.
type LimitsRoute struct {
	Path   string
	Limits []LimitsLimit
}

// LimitsLimit is one limit of a route.
type LimitsLimit struct {
	Name  string
	Quota gcra.Quota
	Lease int // most tokens that a gateway prepays
}

// LimitsFault is one thing that happens to Redis.
type LimitsFault struct {
	Name   string
	Before func() error // called before the time in which nothing is broken; nil: nothing
	Start  func() error
	End    func() error // nil: Redis works all the time
	// Unnoticed: Redis forgets without failing, so that gateways trust it until a
	// probe finds out.
	Unnoticed bool
}

// RunLimits sends traffic through all gateways, plays faults in an order drawn by
// Seed until Length has passed or ctx is done, and judges what the upstream got.
func RunLimits(ctx context.Context, cfg LimitsConfig) (LimitsReport, error) {
	d := &limitsDrill{LimitsConfig: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 0))}
	for _, r := range cfg.Routes {
		d.clients = append(d.clients, d.startClient(r, true), d.startClient(r, false))
	}
	err := d.play(ctx)
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
	random  *rand.Rand
	clients []*limitsClient
	faults  []playedFault
}

// play plays one fault after the other; each kind comes once before any comes
// again.
func (d *limitsDrill) play(ctx context.Context) error {
	deadline := time.Now().Add(d.Length)
	var deck []LimitsFault
	for time.Now().Before(deadline) {
		if len(deck) == 0 {
			deck = append(deck, d.Faults...)
			d.random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		f := deck[0]
		deck = deck[1:]
		if f.Before != nil {
			if err := f.Before(); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
		}
		if !sleep(ctx, d.between(1200, 2500)) {
			return ctx.Err()
		}
		if !time.Now().Before(deadline) {
			return nil
		}
		if err := d.playOne(f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

func (d *limitsDrill) between(least, most int) time.Duration {
	return time.Duration(least+d.random.IntN(most-least)) * time.Millisecond
}

// playOne plays a fault to its end, however little time is left: Redis is always
// made whole.
func (d *limitsDrill) playOne(f LimitsFault) error {
	p := playedFault{fault: f, from: d.Upstream.now()}
	began := time.Now()
	if err := f.Start(); err != nil {
		return err
	}
	whole := began
	if f.End != nil {
		time.Sleep(d.between(500, 2500))
		whole = time.Now()
		if err := f.End(); err != nil {
			return err
		}
	}
	p.outage = whole.Sub(began)
	if err := d.await(&p, began, whole); err != nil {
		return err
	}
	time.Sleep(2 * settleTime)
	p.to = d.Upstream.now()
	d.faults = append(d.faults, p)
	d.Progress(p.String())
	return nil
}

// await waits until all gateways use Redis again, and finds out how they came
// back.
func (d *limitsDrill) await(p *playedFault, began, whole time.Time) error {
	steady := 0
	for deadline := time.Now().Add(limitsReturn); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var all []failover.Status
		for _, g := range d.Gateways {
			s, err := g.Status()
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		if !p.measure(all, began, whole) {
			steady = 0
			continue
		}
		// One that has not given Redis up yet may still be about to.
		if steady++; steady == 3 {
			return nil
		}
	}
	return fmt.Errorf("not every gateway used Redis again within %s", limitsReturn)
}

// Upstream serves what gateways admit, and remembers it.
type Upstream struct {
	start time.Time
	log   admissionLog
}

// NewUpstream returns one that has seen nothing.
func NewUpstream() *Upstream { return &Upstream{start: time.Now()} }

func (u *Upstream) now() time.Duration { return time.Since(u.start) }

// ServeHTTP admits every request; X-Client and X-Sent are the drill's.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, err := strconv.ParseInt(r.Header.Get("X-Sent"), 10, 64)
	if err != nil {
		return // no client of the drill: a health check
	}
	u.log.add(r.Header.Get("X-Client"), admission{time.Duration(sent), u.now()})
}

// String tells a person what was played and how the gateways took it.
func (p *playedFault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6.1fs  %s", p.from.Seconds(), p.fault.Name)
	if p.outage > 0 {
		fmt.Fprintf(&b, " for %.1fs", p.outage.Seconds())
	}
	fmt.Fprintf(&b, ", in use by all %.1fs later, the last %s after the first", p.returned.Seconds(), p.apart.Round(time.Millisecond))
	return b.String()
}
