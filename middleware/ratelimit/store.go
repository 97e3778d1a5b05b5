package ratelimit

import (
	"context"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
)

// Charge is one limit's part in a request: Cost tokens of the bucket Key, which
// is filled by Quota.
type Charge struct {
	Limit string // its name
	Key   string
	Quota gcra.Quota
	Cost  int
	// Extra is how many tokens more are taken where the charge is made, to be
	// spent later; of what is then left, half at most.
	Extra int
	// Shadow: the charge is made if it can be, and refuses nothing.
	Shadow bool
}

// Store keeps buckets. Buckets never used are full.
type Store interface {
	// Take makes all charges or, if one that is no shadow is refused, none, and
	// appends the result of each to results: whether this limit admits the
	// request. The caller bounds the time through ctx. An error means that
	// nothing is known.
	Take(ctx context.Context, charges []Charge, results []gcra.Result) ([]gcra.Result, error)
	// Refund takes back charges that were made, in all their Cost.
	Refund(ctx context.Context, charges []Charge) error
}

// Remote is the Store that all gateways share.
type Remote interface {
	Store
	// Settle brings what is owed. One that was brought before, by its ID, is
	// not brought again. It returns, for each, when its quota is whole.
	Settle(ctx context.Context, owed []Settlement) ([]time.Duration, error)
	// Return gives back what is left of leases, each if nobody has charged its
	// key since: a slot under those of others comes back by itself.
	Return(ctx context.Context, leases []LeaseOf) error
}

// Settlement is a Debt on its way. A bucket's TAT is first lifted to Debt.AtLeast
// ahead of the store's clock, then Debt.Add is added, as far as an empty bucket.
type Settlement struct {
	ID   string // of this attempt and all its repetitions, unique among gateways
	Key  string
	Debt gcra.Debt
}

// LeaseOf is what a gateway holds of Key.
type LeaseOf struct {
	Key   string
	Lease gcra.Lease
}
