package ratelimit

import (
	"context"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy"
)

// Charge is one limit's part in a request: it takes Cost tokens from the bucket Key, which Quota
// fills.
type Charge struct {
	Limit string // the limit's name
	Key   string
	Quota gcra.Quota
	Cost  int
	Lease policy.Lease // what a Limiter may prepay
	// Extra is how many more tokens a Remote is to lease, to be spent later on this gateway: at most
	// half of what is left after the charge.
	Extra int
	// Shadow: the charge is made if possible, and never refuses the request.
	Shadow bool
}

// Store keeps buckets. A bucket that was never used is full.
type Store interface {
	// Take makes all charges, or none if one that is not a shadow is refused. It appends a result
	// for each: whether this limit admits the request. The caller bounds the time through ctx. An
	// error means that the outcome is unknown.
	Take(ctx context.Context, charges []Charge, results []gcra.Result) ([]gcra.Result, error)
	// Refund takes back the whole Cost of charges that were made.
	Refund(ctx context.Context, charges []Charge) error
}

// Remote is the Store that all gateways share.
type Remote interface {
	Store
	// Settle applies debts. One whose ID was applied before is skipped. It returns, for each, the
	// time until its bucket is full.
	Settle(ctx context.Context, owed []Settlement) ([]time.Duration, error)
	// Return gives back what is left of leases. A lease is skipped if its key was charged by others
	// since: tokens below theirs come back by themselves.
	Return(ctx context.Context, leases []LeaseOf) error
}

// Settlement is a Debt to be applied. The bucket's TAT is first raised to at least Debt.AtLeast
// ahead of the store's clock; then Debt.Add is added, at most up to an empty bucket.
type Settlement struct {
	ID   string // the same for all retries; unique among gateways
	Key  string
	Debt gcra.Debt
}

// LeaseOf is this gateway's lease of Key.
type LeaseOf struct {
	Key   string
	Lease gcra.Lease
}
