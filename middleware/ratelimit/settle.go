package ratelimit

import (
	"context"
	"strconv"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
)

const (
	// settleBatch is how many keys one call to the shared store settles.
	settleBatch = 128
	// settleMost bounds how many keys one round settles. Debts beyond it follow in another round at
	// once; keys that only need to be lifted are skipped.
	settleMost = 1 << 16
)

// ledger makes the settlements, one round at a time.
type ledger struct {
	turn    chan struct{} // capacity 1, full while a round runs: a lock that can wait with a context
	count   uint64        // of the settlements made; guarded by turn
	unknown []Settlement  // sent, but perhaps not received; at most settleBatch; guarded by turn
}

// Replay implements failover.Backlog: debts and the levels of all keys are to be settled.
func (l *Limiter) Replay() { l.lift.Store(true) }

// Pending implements failover.Backlog.
func (l *Limiter) Pending() bool { return l.lift.Load() || l.owing.Load() > 0 }

// Waiting implements failover.Backlog: it counts charges, some of which may have been refilled since.
func (l *Limiter) Waiting() int { return int(l.owing.Load()) }

// Drain implements failover.Backlog: it settles everything that is pending.
func (l *Limiter) Drain(ctx context.Context) error {
	lift := l.lift.Swap(false)
	err := l.settle(ctx, lift)
	if err != nil && lift {
		l.lift.Store(true)
	}
	return err
}

// Settle settles what was admitted without the shared store, if that is available. A gateway does
// this once more at shutdown.
func (l *Limiter) Settle(ctx context.Context) error {
	if l.owing.Load() == 0 || !l.cfg.Switch.Up() {
		return nil
	}
	return l.settle(ctx, false)
}

// settle settles what was admitted without the shared store and, with lift, the level of each key.
func (l *Limiter) settle(ctx context.Context, lift bool) error {
	select {
	case l.ledger.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.ledger.turn }()
	if err := l.bring(ctx, l.again()); err != nil {
		return err
	}
	for more := true; more; {
		owing := l.owing.Swap(0) // before reading the debts: later ones add to it again
		var owed []Settlement
		owed, more = l.owed(lift)
		for len(owed) > 0 {
			batch := owed[:min(settleBatch, len(owed))]
			owed = owed[len(batch):]
			if err := l.bring(ctx, batch); err != nil {
				l.owing.Add(max(1, owing))
				return err
			}
		}
		lift = false // once is enough
	}
	return nil
}

// owed lists what is to be settled, and reports whether there are more debts than it lists.
func (l *Limiter) owed(lift bool) (owed []Settlement, more bool) {
	now := l.at(l.cfg.Now())
	l.cfg.Local.All(func(key string, b *gcra.Bucket) {
		d := b.Debt(now)
		switch {
		case !d.Unseen && (!lift || d.AtLeast <= 0):
		case len(owed) == settleMost:
			more = more || d.Unseen
		default:
			l.ledger.count++
			owed = append(owed, Settlement{ID: l.cfg.ID + "-" + strconv.FormatUint(l.ledger.count, 36), Key: key, Debt: d})
		}
	})
	return owed, more
}

// again returns the settlements whose fate is unknown: under the same IDs, so that none counts
// twice, and without what has been refunded or refilled since.
func (l *Limiter) again() []Settlement {
	batch, now := l.ledger.unknown, l.at(l.cfg.Now())
	l.ledger.unknown = nil
	for i := range batch {
		b, mu := l.cfg.Local.Lock(batch[i].Key, now)
		current := b.Debt(now)
		mu.Unlock()
		d := &batch[i].Debt
		d.Add, d.AtLeast = min(d.Add, current.Add), min(d.AtLeast, current.AtLeast)
	}
	return batch
}

// bring sends one batch of settlements, or remembers that its fate is unknown.
func (l *Limiter) bring(ctx context.Context, batch []Settlement) error {
	if len(batch) == 0 {
		return nil
	}
	whole, err := l.cfg.Remote.Settle(ctx, batch)
	if err != nil {
		l.ledger.unknown = append([]Settlement(nil), batch...)
		return err
	}
	now := l.at(l.cfg.Now())
	for i, s := range batch {
		b, mu := l.cfg.Local.Lock(s.Key, now)
		b.Settled(s.Debt, now, whole[i])
		mu.Unlock()
		l.replayed.Add(int64(s.Debt.Add / s.Debt.Quota.Interval()))
	}
	return nil
}

// Replayed counts the tokens settled with the shared store.
func (l *Limiter) Replayed() int64 { return l.replayed.Load() }

// ReturnLeases gives back the leases of the keys for which of is true. Leases that the shared store
// does not accept expire by themselves.
func (l *Limiter) ReturnLeases(ctx context.Context, of func(key string) bool) error {
	var leases []LeaseOf
	now := l.at(l.cfg.Now())
	l.cfg.Local.All(func(key string, b *gcra.Bucket) {
		if len(leases) < settleMost && of(key) {
			if left := b.GiveUp(now); left.Tokens > 0 {
				leases = append(leases, LeaseOf{Key: key, Lease: left})
			}
		}
	})
	for len(leases) > 0 && l.cfg.Switch.Up() {
		batch := leases[:min(settleBatch, len(leases))]
		leases = leases[len(batch):]
		if err := l.cfg.Remote.Return(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// Refund takes back charges that Take made and that turn out not to count.
func (l *Limiter) Refund(ctx context.Context, charges []Charge) error {
	now := l.at(l.cfg.Now())
	shared := make([]Charge, 0, len(charges))
	for _, c := range charges {
		b, mu := l.cfg.Local.Lock(c.Key, now)
		if !b.Refund(now, c.Cost) {
			shared = append(shared, c)
		}
		mu.Unlock()
	}
	if l.cfg.Switch == nil || len(shared) == 0 {
		return nil
	}
	// On failure the client only waits longer for tokens.
	_, answered, err := failover.Ask(ctx, l.cfg.Switch, func(ctx context.Context) (struct{}, error) { return struct{}{}, l.cfg.Remote.Refund(ctx, shared) })
	if !answered {
		return nil
	}
	return err
}
