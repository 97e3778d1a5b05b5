package memory

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/middleware/cache"
)

const (
	// cacheVariants bounds the variants of one key; the oldest is dropped first.
	cacheVariants = 32
	// cacheOverhead is the bytes that a key costs beside its entries: the table node, the place in
	// the eviction queue, the resource.
	cacheOverhead = 256
)

// Cache keeps responses in memory, up to a number of bytes that includes headers and bookkeeping.
// It evicts the least used first (W-TinyLFU). An entry past its Keep is never returned, but is
// evicted like any other.
type Cache struct {
	now       func() time.Time
	resources *otter.Cache[string, *resource]
	evicted   atomic.Uint64
}

// resource holds the entries of one key. It is immutable and replaced as a whole.
type resource struct {
	variants []*cache.Entry // newest first
}

var _ cache.LocalStore = (*Cache)(nil)

// NewCache returns a store of at most size bytes.
func NewCache(size int64, now func() time.Time) *Cache {
	c := &Cache{now: now}
	c.resources = otter.Must(&otter.Options[string, *resource]{
		MaximumWeight: uint64(max(0, size)),
		Weigher:       weigh,
		OnAtomicDeletion: func(e otter.DeletionEvent[string, *resource]) {
			if e.WasEvicted() {
				c.evicted.Add(1)
			}
		},
	})
	return c
}

func weigh(key string, r *resource) uint32 {
	n := cacheOverhead + len(key)
	for _, e := range r.variants {
		n += e.Weight()
	}
	return uint32(min(n, math.MaxUint32))
}

// Get returns the newest entry that the fields select; it never fails.
func (c *Cache) Get(_ context.Context, key string, fields rfc9111.Fields) (cache.Found, error) {
	r, ok := c.resources.GetIfPresent(key)
	if !ok {
		return cache.Found{}, nil
	}
	return cache.Select(r.variants, fields, c.now()), nil
}

// Variants implements cache.LocalStore.
func (c *Cache) Variants(key string) []*cache.Entry {
	r, ok := c.resources.GetEntryQuietly(key)
	if !ok {
		return nil
	}
	return r.Value.variants
}

// Put stores an entry; it never fails. An entry larger than the whole store is evicted at once.
func (c *Cache) Put(_ context.Context, key string, e *cache.Entry) error {
	now := c.now()
	c.resources.Compute(key, func(old *resource, found bool) (*resource, otter.ComputeOp) {
		variants := []*cache.Entry{e}
		if found {
			for _, o := range old.variants {
				switch {
				case sameVariant(o, e):
					e.Uses = o.Uses
				case len(variants) < cacheVariants && !o.Expired(now):
					variants = append(variants, o)
				}
			}
		}
		return &resource{variants}, otter.WriteOp
	})
	c.resources.CleanUp() // evict now: otter alone might keep hundreds of large entries above the bound
	return nil
}

// Reweigh computes the weight of a key's entries again.
func (c *Cache) Reweigh(key string) {
	c.resources.ComputeIfPresent(key, func(r *resource) (*resource, otter.ComputeOp) { return r, otter.WriteOp })
	c.resources.CleanUp()
}

// Find implements cache.Finder.
func (c *Cache) Find(ctx context.Context, match func(url string) bool, found func(key string, e *cache.Entry) bool) error {
	now := c.now()
	for key, r := range c.resources.All() {
		for _, e := range r.variants {
			if !e.Expired(now) && match(e.URL) && !found(key, e) {
				return nil
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func sameVariant(a, b *cache.Entry) bool {
	return slices.Equal(a.Vary, b.Vary) && slices.Equal(a.Selecting, b.Selecting)
}

// Len is about how many keys have stored responses.
func (c *Cache) Len() int { return c.resources.EstimatedSize() }

// Evicted counts keys that were evicted for others.
func (c *Cache) Evicted() uint64 { return c.evicted.Load() }

// Bytes estimates the memory taken by the stored responses.
func (c *Cache) Bytes() int64 {
	return int64(min(c.resources.WeightedSize(), math.MaxInt64))
}
