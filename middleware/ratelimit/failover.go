package ratelimit

import (
	"context"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
)

// Failover is a Store that asks Remote while Switch lets it and else, in the
// same call, Local with this gateway's share of the quota.
type Failover struct {
	Switch   *failover.Switch // nil: no remote store is configured
	Remote   Store            // nil with a nil Switch
	Local    Store
	Replicas func() int // gateways that share the limits; at least 1
}

var _ Store = (*Failover)(nil)

// Take charges remotely or locally. Its error is Local's.
func (f *Failover) Take(ctx context.Context, charges []Charge) ([]gcra.Result, error) {
	return failover.Do(ctx, f.Switch,
		func(ctx context.Context) ([]gcra.Result, error) { return f.Remote.Take(ctx, charges) },
		func() ([]gcra.Result, error) {
			if f.Switch != nil {
				exchange.From(ctx).Facts.Local = true
			}
			n := f.Replicas()
			shares := make([]Charge, len(charges))
			for i, c := range charges {
				share := c.Quota.Share(n)
				// A cost above the share's burst would be refused for ever.
				shares[i] = Charge{Key: c.Key, Quota: share, Cost: min(c.Cost, share.Burst)}
			}
			return f.Local.Take(ctx, shares)
		})
}
