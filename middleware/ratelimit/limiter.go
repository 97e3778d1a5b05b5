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
	Replicas func() int // gateways that are thought to share the limits; at least 1
	Now      func() time.Time
	// ID tells this gateway's settlements from those of others; unique in time too.
	ID string
	// Count is told of every charge that was made or refused; nil: nobody is.
	Count func(c Charge, by Decider, allowed bool)
}

// Decider is who decided a charge.
type Decider int

// The deciders.
const (
	Shared Decider = iota // the shared store, or the one bucket where none is configured
	Leased                // tokens that were leased
	Known                 // what was known here refused it
	Share                 // this gateway's share, the shared store being away
)

// String gives the name in metrics.
func (d Decider) String() string { return [...]string{"shared", "lease", "known", "share"}[d] }

// Limiter is the Store of a gateway. The shared one decides for all gateways
// together while Switch lets it; beside it, Local knows what makes asking
// needless, and what to decide by, and to bring back, when it is away.
type Limiter struct {
	cfg    Config
	origin time.Time // where the time line of the buckets starts

	owing    atomic.Bool  // something was admitted alone since the last settlement
	lift     atomic.Bool  // the shared store may have lost how far keys stood
	replayed atomic.Int64 // tokens brought to the shared store
	ledger   ledger
}

var (
	_ Store            = (*Limiter)(nil)
	_ failover.Backlog = (*Limiter)(nil)
)

// New returns a limiter. Where there is a shared store, it is a backlog of its Switch.
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

// at is a moment on the time line of the buckets. Go's clock readings hold the
// monotonic clock too, and that is what Sub uses: a wall clock that is set moves
// nothing.
func (l *Limiter) at(t time.Time) int64 { return int64(t.Sub(l.origin)) }

// maxCharges is how many charges Take handles without an allocation.
const maxCharges = 8

// Take charges what can be decided here, and asks the shared store for the rest.
// Its error is always nil.
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

// count tells who decided what was not left to the one who was asked. What would
// have been admitted, but for another limit, is neither admitted nor refused.
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

// undo takes back what was charged here for a request that is refused here.
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

// taking is a Take on its way.
type taking struct {
	charges []Charge
	steps   []gcra.Step
	results []gcra.Result // in place
}

// decide asks the shared store for the charges that are left to it, or decides
// by this gateway's share.
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
	// What is local never fails, and an error of the remote one is never an
	// answer: a bucket that is not there is full.
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
	// The store may have made these charges, and a debt would make them again. But
	// a gateway that has no others beside it knows all that was admitted.
	l.owe()
	l.count(t, Share, false)
}

// extra is how many tokens are worth taking beyond the charge.
func (l *Limiter) extra(c Charge, now int64) int {
	if c.Extra == 0 {
		return 0
	}
	b, mu := l.cfg.Local.Lock(c.Key, now)
	defer mu.Unlock()
	if !b.AskLease(now) {
		return 0
	}
	return c.Extra
}

// leaseAsked lets leases be asked for again.
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

// learn takes in what the shared store answered to those charges that asked it.
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
			continue // a shadow
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

// leasedMeanwhile admits, by tokens that are leased, what the shared store
// refused: a request beside this one may have been leased them while this one was
// asking, and they were the last.
func (l *Limiter) leasedMeanwhile(t taking, now int64) bool {
	if !slices.ContainsFunc(t.charges, func(c Charge) bool { return c.Extra > 0 }) {
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

// alone decides by this gateway's share, one of n.
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

// owe notes that something was admitted alone.
func (l *Limiter) owe() {
	l.owing.Store(true)
	l.cfg.Switch.Wake()
}
