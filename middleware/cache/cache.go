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
// internal/store/memory and internal/store/redis.
//
// What is decided for a request is in plan.go, key.go and sent.go, for a response in
// fill.go; what clients get of an entry in answer.go, encode*.go and parts.go.
// When and how the upstream is asked, and when it is spared: transport.go,
// freshen.go, refresh.go, stale_if_error.go, collapse*.go. What ends an entry
// before its time: tags*.go, write.go, invalidate.go, groups.go, private.go.
package cache

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/bounded"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// Config configures a Cache. Store and Tags are required. What a policy says is
// read from each request's snapshot.
type Config struct {
	Store *Tiers
	Tags  *Tags
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // of what an operator may want to declare; nil: none
	// Random returns numbers in [0, 1), by which hits refresh early; for many
	// goroutines. nil: rand.Float64.
	Random func() float64
}

// Cache is the response cache. Close it after its last request.
type Cache struct {
	store  *Tiers
	tags   *Tags
	now    func() time.Time
	log    *slog.Logger
	random func() float64

	recording atomic.Int64 // bytes held of bodies on their way, most of them into the store
	search    bounded.Map[searched, rfc9111.SearchRule]
	declared  routeFields   // what responses vary by, and is sent for that
	told      routeFields   // of which the log told that they are not sent
	making    chan struct{} // places for encodings that are kept
	streaming chan struct{} // places for encodings of responses on their way
	lingering chan struct{} // places for writes whose clients have left
	doubt     doubts

	alone   notes[struct{}] // flight keys of which an answer was not for all
	failing notes[failure]  // flight keys that the upstream failed to validate
	varies  notes[[]string] // keys whose responses vary, with the names

	life   context.Context // of flights
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu        sync.Mutex         // guards what follows
	closed    bool               // no flight departs any more
	flights   map[string]*flight // by flight key
	refreshes int                // flights in the background
}

// New returns a cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cache{store: cfg.Store, tags: cfg.Tags, now: cfg.Now, log: cfg.Log, random: cfg.Random, flights: map[string]*flight{}}
	c.alone, c.failing, c.varies = newNotes[struct{}](), newNotes[failure](), newNotes[[]string]()
	c.search.Limit = maxSearchRules
	c.making, c.streaming = make(chan struct{}, maxMaking), make(chan struct{}, maxStreaming)
	c.lingering = make(chan struct{}, maxWrites)
	c.life, c.cancel = context.WithCancel(context.Background())
	return c
}

// begin runs f in a goroutine that Close waits for, and which is to end with life;
// false: the cache is closed.
func (c *Cache) begin(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.tasks.Go(f)
	}
	return !c.closed
}

// Close ends the requests upstream that the cache owns, those that clients wait
// for too, and waits for them. Requests may still come; each goes upstream alone
// and refreshes nothing.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.tasks.Wait()
}
