// Package cache is the shared response cache (RFC 9111) between the limits and
// the proxy. It has two ends: Handler, before the proxy, makes one Plan for a
// request and answers fresh hits from the store; Transport, below the proxy,
// sees the rewritten request and fills, validates and refreshes by that Plan.
// Below the proxy a response is what the upstream sent: headers that belong to
// one client cannot reach the store.
//
// What the standard says is decided by internal/rfc9111; this package adds what
// the policy says and the plumbing. Purges go by tags (Tags), storage by two
// tiers (Tiers); where those keep their data is the business of
// internal/memory and internal/redisdb.
package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// maxRefreshes bounds the refreshes in the background at a time; above it, stale
// responses are served without one.
const maxRefreshes = 64

// Config configures a Cache. Store and Tags are required. What a policy says is
// read from each request's snapshot.
type Config struct {
	Store *Tiers
	Tags  *Tags
	Now   func() time.Time // nil: time.Now
}

// Cache is the response cache. Close it after its last request.
type Cache struct {
	store *Tiers
	tags  *Tags
	now   func() time.Time

	recording atomic.Int64 // bytes of bodies on their way into the store
	search    searchRules

	life   context.Context // of refreshes in the background
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu         sync.Mutex
	closed     bool                // guarded by mu
	refreshing map[string]struct{} // keys, guarded by mu
}

// New returns a cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Cache{store: cfg.Store, tags: cfg.Tags, now: cfg.Now, refreshing: map[string]struct{}{}}
	c.life, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends refreshes in the background and waits for them. Requests may still
// come; they refresh nothing.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.tasks.Wait()
}
