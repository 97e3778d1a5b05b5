package ratelimit

import (
	"context"
	"slices"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy"
)

// Peeker is a Remote whose buckets can be read without charging them.
type Peeker interface {
	// Peek returns Remaining and ResetAfter of a key's bucket, and whether it was ever used.
	Peek(ctx context.Context, key string, q gcra.Quota) (r gcra.Result, known bool, err error)
}

var _ Store = (*Dry)(nil)

// Dry is a Store that answers as a Limiter would and charges nothing. It serves one request.
type Dry struct {
	of  *Limiter
	cfg DryConfig

	// Outcomes are those of the charges, in the order of the route's limits.
	Outcomes []Outcome
}

// DryConfig says under which circumstances a Dry decides.
type DryConfig struct {
	At     time.Time // now, or later
	Remote Peeker    // reads the Limiter's shared store; nil: it has none
	Down   bool      // as if the shared store were unavailable
}

// Outcome is a charge, and what the limit would say to it.
type Outcome struct {
	Charge
	gcra.Result
	By Decider
}

// Dry returns a Dry of l.
func (l *Limiter) Dry(cfg DryConfig) *Dry { return &Dry{of: l, cfg: cfg} }

// Take implements Store: it runs Limiter.Take on copies of the buckets.
func (d *Dry) Take(ctx context.Context, charges []Charge, results []gcra.Result) ([]gcra.Result, error) {
	cfg, by := d.of.cfg, make(map[string]Decider, len(charges))
	cfg.Now, cfg.Local = func() time.Time { return d.cfg.At }, NewTable(len(charges))
	cfg.Count = func(c Charge, decider Decider, _ bool) { by[c.Key] = decider }
	if cfg.Switch = failover.Rehearse(cfg.Switch, d.cfg.Down); cfg.Switch != nil {
		cfg.Remote = peeking{peeker: d.cfg.Remote, ahead: max(d.cfg.At.Sub(d.of.cfg.Now()), 0)}
	}
	copied := &Limiter{cfg: cfg, origin: d.of.origin}
	for _, c := range charges {
		var bucket gcra.Bucket
		if d.of.cfg.Local.Peek(c.Key, func(b *gcra.Bucket) { bucket = *b }) {
			b, mu := cfg.Local.Lock(c.Key, copied.at(cfg.Now()))
			*b = bucket
			mu.Unlock()
		}
	}
	first := len(results)
	results, err := copied.Take(ctx, charges, results)
	for i, r := range results[first:] {
		d.Outcomes = append(d.Outcomes, Outcome{charges[i], r, by[charges[i].Key]})
	}
	return results, err
}

// Refund implements Store. There is nothing to give back.
func (d *Dry) Refund(context.Context, []Charge) error { return nil }

// peeking is a Remote that computes what charges would do.
type peeking struct {
	Remote
	peeker Peeker
	ahead  time.Duration // of the moment asked about, from now
}

// Take implements Store.
func (p peeking) Take(ctx context.Context, charges []Charge, results []gcra.Result) ([]gcra.Result, error) {
	levels, refused := make([]gcra.Result, len(charges)), false
	first := len(results)
	for i, c := range charges {
		level, _, err := p.peeker.Peek(ctx, c.Key, c.Quota)
		if err != nil {
			return results[:first], err
		}
		tat := int64(max(level.ResetAfter-p.ahead, 0))
		_, levels[i] = c.Quota.Take(tat, 0, 0)
		_, r := c.Quota.Take(tat, 0, c.Cost)
		results = append(results, r)
		refused = refused || !r.Allowed && !c.Shadow
	}
	for i, level := range levels {
		if r := &results[first+i]; refused && r.Allowed { // all are made, or none
			*r = level
		}
	}
	return results, nil
}

// Dry returns Flights that answer as f does and count nothing.
func (f *InFlight) Dry() Flights { return dryFlights{f} }

type dryFlights struct{ *InFlight }

func (f dryFlights) Enter(key string, most int) bool { return f.Count(key) < most }

func (dryFlights) Leave(string) {}

// Count is the number of requests of key.
func (f *InFlight) Count(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[key]
}

// Applied is a limit of a request's route.
type Applied struct {
	Limit  *policy.Limit
	Skips  string // why it does not count the request; "": it does
	Key    string // of its bucket, as Charge.Key
	Denies string // why it refuses the request without counting it; "": it does not
}

// AppliedTo returns how the limits of a request's route apply to it, in their order. The first that
// denies it is the last.
func AppliedTo(ex *exchange.Exchange) []Applied {
	copied, all := *ex, []Applied(nil) // resolve notes facts
	p := plan{skipped: func(l *policy.Limit, why string) { all = append(all, Applied{Limit: l, Skips: why}) }}
	p.resolve(&copied)
	for i, l := range p.limits {
		all = append(all, Applied{Limit: l, Key: p.charges[i].Key})
	}
	for _, f := range p.flights {
		all = append(all, Applied{Limit: f.limit, Key: f.key})
	}
	if p.denied != nil {
		all = append(all, Applied{Limit: p.denied, Denies: p.reason})
	}
	slices.SortFunc(all, func(a, b Applied) int {
		return slices.Index(ex.Route.Limits, a.Limit) - slices.Index(ex.Route.Limits, b.Limit)
	})
	return all
}
