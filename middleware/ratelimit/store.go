package ratelimit

import (
	"context"

	"github.com/jewgo/gateway/internal/gcra"
)

// Charge is one limit's part in a request: Cost tokens of the bucket Key, which
// is filled by Quota. A negative Cost gives tokens back.
type Charge struct {
	Key   string
	Quota gcra.Quota
	Cost  int
}

// Store keeps buckets. Buckets never used are full.
type Store interface {
	// Take makes the charges in order and gives their results, one each up to
	// the first that is refused: what follows a refusal is not charged. The
	// caller bounds the time through ctx. An error means that nothing is known.
	Take(ctx context.Context, charges []Charge) ([]gcra.Result, error)
}
