package cache

import (
	"context"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// Store keeps entries by key and variant. It knows nothing of freshness or tags:
// what it gives may be stale or purged.
type Store interface {
	// Get returns the newest entry of the key that the request with the fields
	// selects and that is not past its Keep. The caller bounds the time through
	// ctx. An error means that nothing is known.
	Get(ctx context.Context, key string, fields rfc9111.Fields) (Found, error)
	// Put stores an entry in place of the one with the same key, names and
	// values of selecting fields, and may drop it, or others, at any time. It
	// takes the entry over: nobody changes it any more.
	Put(ctx context.Context, key string, e *Entry) error
}

// Found is what a store has for a request.
type Found struct {
	Entry  *Entry // nil: nothing that the request selects
	Others bool   // the key has entries that other requests select; told with a nil Entry
	Tier   string // where the entry came from, l1 or l2; set by Tiers
	Local  bool   // the shared store is away; set by Tiers
}
