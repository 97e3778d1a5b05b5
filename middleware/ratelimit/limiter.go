package ratelimit

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
)

// Config configures a Limiter. Local, Replicas and Now are required.
type Config struct {
	Switch   *failover.Switch // nil: no shared store is configured
	Remote   Remote           // nil with a nil Switch
	Local    *Table
	Replicas func() int // how many gateways are believed to share the limits; at least 1
	Now      func() time.Time
	// ID makes this gateway's settlements unique among all gateways and restarts.
	ID string
	// Count is called for every charge that was made or refused; nil: no calls.
	Count func(c Charge, by Decider, allowed bool)
}

// Decider is what decided a charge.
type Decider int

// The deciders.
const (
	Shared Decider = iota // the shared store, or the only bucket where none is configured
	Leased                // tokens that were leased
	Known                 // refused by what this gateway already knew
	Share                 // this gateway's share, while the shared store is unavailable
)

// String returns the name used in metrics.
func (d Decider) String() string { return [...]string{"shared", "lease", "known", "share"}[d] }

// Limiter is the Store of one gateway. While Switch allows, the shared store decides for all
// gateways. Local saves requests to it and, while it is unavailable, decides and records what to
// settle later.
type Limiter struct {
	cfg    Config
	origin time.Time // zero of the buckets' clock

	owing    atomic.Int64 // how often it admitted something without the shared store since the last settlement
	lift     atomic.Bool  // the shared store may have lost its buckets
	replayed atomic.Int64 // tokens settled with the shared store
	ledger   ledger
}

var (
	_ Store            = (*Limiter)(nil)
	_ failover.Backlog = (*Limiter)(nil)
)

// New returns a limiter, and registers it as a backlog of its Switch, if any.
func New(cfg Config) *Limiter {
	if cfg.Count == nil {
		cfg.Count = func(Charge, Decider, bool) {}
	}
	l := &Limiter{cfg: cfg, origin: cfg.Now().Add(-time.Hour), ledger: ledger{turn: make(chan struct{}, 1)}}
	if cfg.Switch != nil {
		cfg.Switch.Brings("limits", l)
	}
	return l
}

// at converts t to the buckets' clock, in nanoseconds. Sub uses the monotonic reading, so setting
// the wall clock changes nothing.
func (l *Limiter) at(t time.Time) int64 { return int64(t.Sub(l.origin)) }

// maxCharges is how many charges Take handles without an allocation.
const maxCharges = 8

// Take charges what this gateway can decide, and asks the shared store for the rest. Its error is
// always nil.
func (l *Limiter) Take(ctx context.Context, charges []Charge, results []gcra.Result) ([]gcra.Result, error) {
	var room [maxCharges]gcra.Step
	steps := room[:0]
	first := len(results)
	now := l.at(l.cfg.Now())
	refused, ask := false, false
	for _, c := range charges {
		step, r := l.admit(c, now)
		steps, results = append(steps, step), append(results, r)
		switch step.Kind {
		case gcra.Refuse:
			refused = refused || !c.Shadow
		case gcra.Ask:
			ask = true
		case gcra.Spent:
		}
	}
	own := results[first:]
	t := taking{charges, steps, own}
	switch {
	case refused:
		l.undo(t, now)
		l.count(t, Known, true)
	case ask && l.cfg.Switch != nil:
		l.decide(ctx, t)
	default:
		l.count(t, Shared, false)
	}
	return results, nil
}

func (l *Limiter) admit(c Charge, now int64) (gcra.Step, gcra.Result) {
	b, mu := l.cfg.Local.Lock(c.Key, now)
	defer mu.Unlock()
	return b.Admit(c.Quota, now, c.Cost)
}

// count reports the decider of each charge: asked, unless it was decided locally. A charge that
// only another limit's refusal prevented is not counted.
func (l *Limiter) count(t taking, asked Decider, refused bool) {
	for i, c := range t.charges {
		allowed := t.results[i].Allowed
		if allowed && refused {
			continue
		}
		by := asked
		switch t.steps[i].Kind {
		case gcra.Refuse:
			by = Known
		case gcra.Spent:
			by = Leased
		case gcra.Ask:
		}
		l.cfg.Count(c, by, allowed)
	}
}

// undo takes back the local charges of a request that is refused locally.
func (l *Limiter) undo(t taking, now int64) {
	for i, c := range t.charges {
		if t.steps[i].Kind == gcra.Refuse {
			continue
		}
		b, mu := l.cfg.Local.Lock(c.Key, now)
		b.Undo(t.steps[i], now)
		t.results[i] = b.Level(c.Quota, now)
		mu.Unlock()
	}
}

// taking is a Take in progress.
type taking struct {
	charges []Charge
	steps   []gcra.Step
	results []gcra.Result // in place
}

// decide asks the shared store for the undecided charges, or decides by this gateway's share.
func (l *Limiter) decide(ctx context.Context, t taking) {
	asked := make([]Charge, 0, len(t.charges))
	sent := l.at(l.cfg.Now())
	for i, c := range t.charges {
		if t.steps[i].Kind == gcra.Ask {
			c.Extra = l.extra(c, sent)
			asked = append(asked, c)
		}
	}
	defer l.leaseAsked(asked)
	doubtful := false
	// A remote error decides nothing, since a missing bucket is simply full. The local decision
	// cannot fail.
	results, answered, _ := failover.Ask(ctx, l.cfg.Switch, func(ctx context.Context) ([]gcra.Result, error) {
		doubtful = true
		return l.cfg.Remote.Take(ctx, asked, make([]gcra.Result, 0, len(asked)))
	})
	if answered && len(results) == len(asked) {
		l.learn(t, results, sent)
		return
	}
	exchange.From(ctx).Facts.Local = true
	if n := max(1, l.cfg.Replicas()); n > 1 || !doubtful {
		l.alone(t, n)
		return
	}
	// The store may have made these charges, and a debt would repeat them. But a gateway without
	// others beside it knows everything that was admitted.
	l.owe()
	l.count(t, Share, false)
}

// prepays is how many tokens of a charge's bucket this gateway may hold prepaid.
func (l *Limiter) prepays(c Charge) int {
	most := c.Lease.Of(c.Quota.Burst, max(1, l.cfg.Replicas()))
	if most < c.Cost { // it would never be spent
		return 0
	}
	return most
}

// extra is how many tokens to lease beyond the charge.
func (l *Limiter) extra(c Charge, now int64) int {
	most := l.prepays(c)
	if most == 0 {
		return 0
	}
	b, mu := l.cfg.Local.Lock(c.Key, now)
	defer mu.Unlock()
	return b.AskLease(now, most)
}

// leaseAsked allows leases to be requested again.
func (l *Limiter) leaseAsked(asked []Charge) {
	now := l.at(l.cfg.Now())
	for _, c := range asked {
		if c.Extra > 0 {
			b, mu := l.cfg.Local.Lock(c.Key, now)
			b.LeaseAsked()
			mu.Unlock()
		}
	}
}

// learn applies the shared store's answers to the charges that asked it.
func (l *Limiter) learn(t taking, answers []gcra.Result, sent int64) {
	now := l.at(l.cfg.Now())
	k := 0
	refused := false
	for i, c := range t.charges {
		if t.steps[i].Kind == gcra.Ask {
			t.results[i] = answers[k]
			k++
		}
		refused = refused || !t.results[i].Allowed && !c.Shadow
	}
	for i, c := range t.charges {
		if t.steps[i].Kind == gcra.Refuse {
			continue // a shadow limit
		}
		made := t.results[i].Allowed && !refused
		b, mu := l.cfg.Local.Lock(c.Key, now)
		if !made {
			b.Undo(t.steps[i], now)
		}
		if t.steps[i].Kind == gcra.Ask {
			if made {
				b.Granted(t.results[i], c.Cost, sent, now)
			} else {
				b.Refused(t.results[i], now)
			}
		}
		mu.Unlock()
	}
	if refused && l.leasedMeanwhile(t, now) {
		return
	}
	l.count(t, Shared, refused)
}

// leasedMeanwhile retries a refusal with leased tokens: while this request was asking, a concurrent
// one may have leased the last tokens for this gateway.
func (l *Limiter) leasedMeanwhile(t taking, now int64) bool {
	if !slices.ContainsFunc(t.charges, func(c Charge) bool { return l.prepays(c) > 0 }) {
		return false
	}
	var steps [maxCharges]gcra.Step
	var results [maxCharges]gcra.Result
	again := taking{t.charges, steps[:0], results[:0]}
	admitted := true
	for _, c := range t.charges {
		step, r := l.admit(c, now)
		again.steps, again.results = append(again.steps, step), append(again.results, r)
		admitted = admitted && (step.Kind == gcra.Spent || step.Kind == gcra.Refuse && c.Shadow)
	}
	if !admitted {
		l.undo(again, now)
		return false
	}
	copy(t.results, again.results)
	l.count(again, Leased, false)
	return true
}

// alone decides by this gateway's share, 1/n of the quota.
func (l *Limiter) alone(t taking, n int) {
	now := l.at(l.cfg.Now())
	var room [maxCharges]bool
	took := room[:0]
	refused := false
	for i, c := range t.charges {
		made := false
		if t.steps[i].Kind == gcra.Ask {
			b, mu := l.cfg.Local.Lock(c.Key, now)
			t.results[i] = b.Alone(c.Quota, now, c.Cost, n)
			mu.Unlock()
			made = t.results[i].Allowed
		}
		took = append(took, made)
		refused = refused || !t.results[i].Allowed && !c.Shadow
	}
	for i, c := range t.charges {
		if t.steps[i].Kind == gcra.Refuse || t.results[i].Allowed && !refused {
			continue
		}
		b, mu := l.cfg.Local.Lock(c.Key, now)
		b.Undo(t.steps[i], now)
		if took[i] {
			b.UndoAlone(c.Cost)
		}
		mu.Unlock()
	}
	if !refused {
		l.owe()
	}
	l.count(t, Share, refused)
}

// owe notes that something was admitted without the shared store.
func (l *Limiter) owe() {
	l.owing.Add(1)
	l.cfg.Switch.Wake()
}
