// Package cache is the shared response cache (RFC 9111) between the limits and the proxy. It has
// two ends: Handler, before the proxy, makes a Plan for each request and answers fresh hits from
// the store. Transport, below the proxy, sees the rewritten request; it fills, validates and
// refreshes by that Plan. Below the proxy a response is as the upstream sent it, so headers that
// belong to one client cannot reach the store.
//
// internal/rfc9111 decides what the standard says; this package adds the policy and the plumbing.
// Tags invalidates by tag. Tiers stores entries in two tiers, which are in internal/store/memory
// and internal/store/redis.
//
// Requests: plan.go, key.go and sent.go decide, answer.go, encode*.go and parts.go serve from
// entries. The upstream: transport.go, freshen.go, refresh.go, stale_if_error.go, collapse*.go and
// fills*.go ask it, or spare it; fill.go decides what is stored. Invalidation: tags*.go, write.go and
// invalidate.go. The operator: purge.go, view.go and ratios.go.
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

// Config configures a Cache. Store and Tags are required. The policy is read from each request's
// snapshot.
type Config struct {
	Store *Tiers
	Tags  *Tags
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // tells which fields a policy may want to declare; nil: none
	// Fills lets one of several gateways fill a key; nil: each fills its own. ID is of this gateway and
	// run, and Others reports whether there are other gateways; both are required with it.
	Fills  Fills
	ID     string
	Others func() bool
	// Random returns numbers in [0, 1), which decide early refreshes. It must be safe for
	// concurrent use. nil: rand.Float64.
	Random func() float64
}

// Cache is the response cache. Close it after its last request.
type Cache struct {
	store  *Tiers
	tags   *Tags
	now    func() time.Time
	log    *slog.Logger
	random func() float64

	recording atomic.Int64 // bytes held of bodies in transit
	search    bounded.Map[searched, rfc9111.SearchRule]
	declared  routeFields   // fields that responses vary by, and so are sent
	told      routeFields   // fields that the log reported as not sent
	making    chan struct{} // slots for encodings that are kept
	streaming chan struct{} // slots for encodings of streamed responses
	lingering chan struct{} // slots for writes whose clients have left
	doubt     doubts
	dry       *Dry    // nil: it is none
	shared    *shared // nil: each gateway fills its own

	alone   notes[struct{}] // flight keys with responses that cannot be shared
	failing notes[failure]  // flight keys that the upstream failed to validate
	varies  notes[[]string] // keys whose responses vary, with the field names

	life   context.Context // of flights
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	gates  gates
	ratios ratios

	mu        sync.Mutex         // guards what follows
	closed    bool               // no flight starts any more
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
	c.search.Limit, c.ratios.of.Limit = maxSearchRules, maxRatios
	c.making, c.streaming = make(chan struct{}, maxMaking), make(chan struct{}, maxStreaming)
	c.lingering = make(chan struct{}, maxWrites)
	if cfg.Fills != nil {
		c.shared = &shared{fills: cfg.Fills, health: cfg.Store.Switch, id: cfg.ID, others: cfg.Others}
	}
	c.life, c.cancel = context.WithCancel(context.Background())
	return c
}

// begin runs f in a goroutine that Close waits for; f must end when life does. false: the cache is
// closed.
func (c *Cache) begin(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.tasks.Go(f)
	}
	return !c.closed
}

// Close cancels the upstream requests that the cache owns, even if clients wait for them, and waits
// for their end. Later requests go upstream alone and refresh nothing.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.tasks.Wait()
}
