package ratelimit

import (
	"context"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
)

// Failover is a Store of two. Local counts all that this gateway admits, always:
// what it refuses by the full quota needs no asking, and when Remote is away or
// late nobody finds a fresh bucket here. What it would admit, Remote decides for
// all gateways together while Switch lets it; else this gateway's share does.
type Failover struct {
	Switch   *failover.Switch // nil: no remote store is configured
	Remote   Store            // nil with a nil Switch
	Local    Store
	Replicas func() int // gateways that share the limits; at least 1
}

var _ Store = (*Failover)(nil)

// Take charges locally and, unless that refuses, remotely. Its error is Local's.
func (f *Failover) Take(ctx context.Context, charges []Charge) ([]gcra.Result, error) {
	own, err := f.Local.Take(ctx, charges)
	if err != nil || refused(own) {
		return own, err
	}
	results, err := failover.Do(ctx, f.Switch,
		func(ctx context.Context) ([]gcra.Result, error) { return f.Remote.Take(ctx, charges) },
		func() ([]gcra.Result, error) {
			if f.Switch != nil {
				exchange.From(ctx).Facts.Local = true
			}
			return f.share(ctx, charges, own)
		})
	if err == nil && refused(results) {
		f.giveBack(ctx, charges)
	}
	return results, err
}

// share decides alone. With other gateways about, which do the same, each gives
// out its part of the quota.
func (f *Failover) share(ctx context.Context, charges []Charge, own []gcra.Result) ([]gcra.Result, error) {
	n := f.Replicas()
	if n <= 1 {
		return own, nil
	}
	shares := make([]Charge, len(charges))
	for i, c := range charges {
		quota := c.Quota.Share(n)
		// A cost above the share's burst would be refused for ever.
		shares[i] = Charge{Key: c.Key + "|share", Quota: quota, Cost: min(c.Cost, quota.Burst)}
	}
	return f.Local.Take(ctx, shares)
}

// giveBack takes a local charge back that came to nothing.
func (f *Failover) giveBack(ctx context.Context, charges []Charge) {
	back := make([]Charge, len(charges))
	for i, c := range charges {
		back[i] = Charge{Key: c.Key, Quota: c.Quota, Cost: -c.Cost}
	}
	_, _ = f.Local.Take(ctx, back) // without it the client waits longer for tokens, no more
}

func refused(results []gcra.Result) bool {
	return len(results) > 0 && !results[len(results)-1].Allowed
}
