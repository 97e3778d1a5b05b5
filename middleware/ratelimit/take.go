package ratelimit

import (
	"context"

	"github.com/jewgo/gateway/internal/exchange"
)

// take charges the limits that are enforced in one call, and each shadow limit
// in one of its own, since its refusal must not keep others from being charged.
// It returns what was charged, the refused one last. A store that fails admits:
// limits protect the upstream, they must not take it down themselves.
func take(ctx context.Context, store Store, limits []applied) (charged []applied, refused bool) {
	var enforced []applied
	for _, a := range limits {
		if !a.limit.Shadow {
			enforced = append(enforced, a)
			continue
		}
		results, err := store.Take(ctx, []Charge{a.charge})
		if err == nil && !results[0].Allowed {
			exchange.From(ctx).Facts.Reason = "shadow limit " + a.limit.Name + " reached"
		}
	}
	if len(enforced) == 0 {
		return nil, false
	}
	charges := make([]Charge, len(enforced))
	for i, a := range enforced {
		charges[i] = a.charge
	}
	results, err := store.Take(ctx, charges)
	if err != nil {
		exchange.From(ctx).Facts.Reason = "limits not decided"
		return nil, false
	}
	for i, r := range results {
		enforced[i].result = r
		refused = refused || !r.Allowed
	}
	return enforced[:len(results)], refused
}

// tightest is the limit that the client should heed: the one that refused, else
// the one with the smallest share left.
func tightest(charged []applied) applied {
	t := charged[0]
	for _, a := range charged {
		if !a.result.Allowed {
			return a
		}
		if a.result.Remaining*t.limit.Quota.Burst < t.result.Remaining*a.limit.Quota.Burst {
			t = a
		}
	}
	return t
}
