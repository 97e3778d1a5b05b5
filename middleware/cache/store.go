package cache

import (
	"context"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// Store keeps entries by key and variant. It ignores freshness and tags: it may return stale or
// purged entries.
type Store interface {
	// Get returns the key's newest entry that the request's fields select and that is not past its
	// Keep. The caller bounds the time through ctx. An error means that nothing is known.
	Get(ctx context.Context, key string, fields rfc9111.Fields) (Found, error)
	// Put stores an entry and replaces the one with the same key and the same selecting fields and
	// values. It may drop any entry at any time. It takes over e, which must not be changed any
	// more.
	Put(ctx context.Context, key string, e *Entry) error
}

// Select returns the first of the entries of a key, newest first, that the request's fields select
// and that is not past its Keep.
func Select(variants []*Entry, fields rfc9111.Fields, now time.Time) Found {
	others := false
	for _, e := range variants {
		if e.Expired(now) {
			continue
		}
		if e.Matches(fields) {
			return Found{Entry: e}
		}
		others = true
	}
	return Found{Others: others}
}

// Found is what a store has for a request.
type Found struct {
	Entry  *Entry // nil: no entry that the request selects
	Others bool   // other requests select entries of the key; set if Entry is nil
	Tier   string // where the entry came from, l1 or l2; set by Tiers
	Local  bool   // the shared store is unavailable; set by Tiers
}
