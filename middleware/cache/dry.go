package cache

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// Dry is a Cache that decides as another one would, by what that one has stored and learned, and
// keeps and changes nothing. It serves one request; Close it after that.
type Dry struct {
	*Cache

	// Plan is that of the request; nil: its route is not cached.
	Plan *exchange.Plan

	mu     sync.Mutex // guards what follows, until Close
	stored *Entry
	key    string // of stored
	purged []string
	shared *Entry // found in the shared store under the plan's key
}

// DryConfig says under which circumstances a Dry decides.
type DryConfig struct {
	At     time.Time // now, or later
	Shared Store     // the Cache's shared store, or another way to read it; nil: it has none
	Down   bool      // as if that were unavailable
}

// Dry returns a Dry of c.
func (c *Cache) Dry(cfg DryConfig) *Dry {
	d, now := &Dry{}, func() time.Time { return cfg.At }
	tiers := &Tiers{Shared: cfg.Shared, Switch: failover.Rehearse(c.store.Switch, cfg.Down), Tags: c.tags, Now: now, dry: d}
	tiers.parts.Store(c.store.parts.Load())
	if c.store.Local != nil {
		tiers.Local = unusedStore{c.store.Local, now}
	}
	d.Cache = New(Config{Store: tiers, Tags: c.tags, Now: now, Random: func() float64 { return 0 }}) // no hit refreshes early
	d.dry = d
	c.doubt.copyTo(&d.doubt)
	d.search, d.alone.Map, d.failing.Map, d.varies.Map = c.search.Copy(), c.alone.Copy(), c.failing.Copy(), c.varies.Copy()
	c.declared.mu.RLock()
	defer c.declared.mu.RUnlock()
	d.declared.names = maps.Clone(c.declared.names)
	return d
}

// Stored is the response that the request would store, with its key; nil: none.
func (d *Dry) Stored() (e *Entry, key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stored, d.key
}

// Purged are the tags that the request would purge.
func (d *Dry) Purged() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.purged
}

// Variants returns what is in memory under the request's key, newest first, and what was found in the shared store.
func (d *Dry) Variants(s *policy.Snapshot) (all []Stored) {
	t := d.store
	if d.Plan == nil || !d.Plan.Lookup {
		return nil
	}
	if t.Local != nil {
		for _, e := range t.Local.Variants(d.Plan.Key) {
			if !e.Expired(d.now()) && t.Tags.Valid(e.Marks) {
				all = append(all, d.Cache.stored(s, d.Plan.Key, t.softened(e), tierLocal))
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shared != nil {
		all = append(all, d.Cache.stored(s, d.Plan.Key, t.softened(d.shared), tierShared))
	}
	return all
}

// finds notes an entry of the shared store.
func (d *Dry) finds(key string, e *Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Plan != nil && key == d.Plan.Key {
		d.shared = e
	}
}

// Elsewhere returns up to most URLs of responses in memory that have the request's path, and another
// key: they differ by host, scheme or query, or by what the policy puts into keys.
func (d *Dry) Elsewhere(ex *exchange.Exchange, most int) (urls []string) {
	t := d.store
	if d.Plan == nil || !d.Plan.Lookup || t.Local == nil {
		return nil
	}
	match := func(url string) bool { return viewOf(url).Path == ex.View.Path }
	_ = t.Local.Find(context.Background(), match, func(key string, e *Entry) bool {
		if key != d.Plan.Key && t.Tags.Valid(e.Marks) && !slices.Contains(urls, e.URL) {
			urls = append(urls, e.URL)
		}
		return len(urls) < most
	}) // fails only if its context ends
	slices.Sort(urls)
	return urls
}

// Describe returns what an operator sees of an entry.
func (d *Dry) Describe(s *policy.Snapshot, key string, e *Entry) Stored {
	one := d.Cache.stored(s, key, e, "")
	one.Tiers = nil
	return one
}

func (d *Dry) plans(p *exchange.Plan) {
	if d != nil {
		plan := *p
		d.Plan = &plan
	}
}

func (d *Dry) puts(key string, e *Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.key, d.stored = key, e
}

// purge invalidates the entries with these tags; see Tags.Purge.
func (c *Cache) purge(ctx context.Context, tags ...string) error {
	if d := c.dry; d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, tag := range tags { // those of an unknown outcome are purged twice
			if !slices.Contains(d.purged, tag) {
				d.purged = append(d.purged, tag)
			}
		}
		return nil
	}
	return c.tags.Purge(ctx, tags...)
}

// unusedStore reads a LocalStore without counting uses.
type unusedStore struct {
	LocalStore
	now func() time.Time
}

// Get implements Store. What it returns neither counts its answers nor keeps encoded forms.
func (s unusedStore) Get(_ context.Context, key string, fields rfc9111.Fields) (Found, error) {
	found := Select(s.Variants(key), fields, s.now())
	if found.Entry != nil {
		e := *found.Entry
		e.Uses, e.Codings = nil, nil
		found.Entry = &e
	}
	return found, nil
}
