package cache

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// Stored is an entry as an operator sees it. Times are in seconds.
type Stored struct {
	URL    string   `json:"url"`
	Key    string   `json:"key"`
	Status int      `json:"status"`
	Vary   []string `json:"vary,omitempty"`  // the fields that select it, with their values; those that may identify someone without
	Tags   []string `json:"tags,omitempty"`  // by which it can be purged, beside its URL, its route and all
	Tiers  []string `json:"tiers,omitempty"` // l1: memory, l2: Redis
	Bytes  int      `json:"bytes"`
	Age    int64    `json:"age"`
	Fresh  int64    `json:"fresh"`  // what is left of its lifetime; negative: it is stale
	Hits   uint64   `json:"hits"`   // answers of this gateway with it, or with those that it replaced
	Recent uint64   `json:"recent"` // the same, halved each minute
}

// Finder searches the entries of a store.
type Finder interface {
	// Find calls found for each entry whose URL matches, until it returns false. ctx bounds the time;
	// an error means that some were left out.
	Find(ctx context.Context, match func(url string) bool, found func(key string, e *Entry) bool) error
}

// maxFound bounds the entries of a URL that are listed, maxTop those of a ranking.
const maxFound, maxTop = 100, 20

// FoundURL is what is stored of a URL, by query, newest first.
type FoundURL struct {
	Entries []Stored `json:"entries"`
	More    bool     `json:"more"`            // there are more than maxFound
	Error   string   `json:"error,omitempty"` // why Redis could not be searched
}

// Find returns the entries of a URL, with every query and variant, or of a path on all hosts that
// the policy lists; with here, those in local memory. An error that wraps ErrSelection says what is
// wrong with text.
func (c *Cache) Find(ctx context.Context, s *policy.Snapshot, text string, here bool) (FoundURL, error) {
	uris, err := tagsOfURL(s, text)
	if err != nil {
		return FoundURL{}, fmt.Errorf("%w: url %q: %w", ErrSelection, text, err)
	}
	match := func(url string) bool {
		v := viewOf(url)
		return slices.Contains(uris, uriTag(v.Host, v.Path))
	}
	f, t := FoundURL{Entries: []Stored{}}, c.store
	at := map[string]int{} // in f.Entries, by key and variant
	collect := func(tier string) func(key string, e *Entry) bool {
		return func(key string, e *Entry) bool {
			variant := fmt.Sprintf("%s %q %q", key, e.Vary, e.Selecting)
			switch i, known := at[variant]; {
			case !t.Tags.Valid(e.Marks) || known && slices.Contains(f.Entries[i].Tiers, tier):
			case known:
				f.Entries[i].Tiers = append(f.Entries[i].Tiers, tier)
			case len(f.Entries) == maxFound:
				f.More = true
			default:
				at[variant] = len(f.Entries)
				f.Entries = append(f.Entries, c.stored(s, key, t.softened(e), tier))
			}
			return !f.More
		}
	}
	if t.Local != nil {
		if err := t.Local.Find(ctx, match, collect(tierLocal)); err != nil {
			return FoundURL{}, err
		}
	}
	switch {
	case t.Search == nil || f.More || here:
	case !t.Switch.Up():
		f.Error = "redis is unavailable"
	default:
		if err := t.Search.Find(ctx, match, collect(tierShared)); err != nil {
			f.Error = err.Error()
		}
	}
	slices.SortFunc(f.Entries, func(a, b Stored) int {
		return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.Age, b.Age), cmp.Compare(a.Key, b.Key))
	})
	return f, nil
}

// Overview is the state of the cache of this gateway.
type Overview struct {
	Memory  *MemoryUse      `json:"memory,omitempty"` // absent: the policy has none
	Routes  []RouteOverview `json:"routes"`
	Hottest []Stored        `json:"hottest"` // in memory, by Recent
	Largest []Stored        `json:"largest"` // in memory
}

// MemoryUse is what is in local memory. Purged entries count until they are evicted.
type MemoryUse struct {
	Bytes   int64 `json:"bytes"`
	Entries int   `json:"entries"`
}

// Overview returns the state of the cache of this gateway, for the routes of a policy. It looks at
// every entry in memory.
func (c *Cache) Overview(s *policy.Snapshot) Overview {
	now, lives := c.now(), lifetimes{}
	v := Overview{Routes: []RouteOverview{}, Hottest: []Stored{}, Largest: []Stored{}}
	for _, r := range s.Routes {
		if r.Cache != nil {
			v.Routes = append(v.Routes, RouteOverview{RouteRatios: c.ratios.list(r.Name, now)})
			lives[slotOf(routeTag(r.Name))] = &lifetime{}
		}
	}
	if c.store.Local == nil {
		return v
	}
	v.Memory = &MemoryUse{Bytes: c.store.Local.Bytes()}
	var hottest, largest ranking
	_ = c.store.Local.Find(context.Background(), func(string) bool { return true }, func(key string, e *Entry) bool {
		v.Memory.Entries++
		if c.store.Tags.Valid(e.Marks) {
			_, recent := e.Uses.counts(now)
			hottest.add(recent, key, e)
			largest.add(uint64(e.Weight()), key, e)
			lives.add(c.store.softened(e), now)
		}
		return true
	}) // fails only if its context ends
	for i := range v.Routes {
		lives.complete(&v.Routes[i])
	}
	for _, r := range hottest {
		v.Hottest = append(v.Hottest, c.stored(s, r.key, c.store.softened(r.e), tierLocal))
	}
	for _, r := range largest {
		v.Largest = append(v.Largest, c.stored(s, r.key, c.store.softened(r.e), tierLocal))
	}
	return v
}

// ranking is the maxTop entries with the highest rank, the highest first.
type ranking []ranked

type ranked struct {
	rank uint64
	key  string
	e    *Entry
}

func (r *ranking) add(rank uint64, key string, e *Entry) {
	added := ranked{rank, key, e}
	i, _ := slices.BinarySearchFunc(*r, added, func(one, added ranked) int {
		return cmp.Or(cmp.Compare(added.rank, one.rank), cmp.Compare(one.e.URL, added.e.URL))
	})
	if i < maxTop {
		*r = slices.Insert(*r, i, added)
		*r = (*r)[:min(len(*r), maxTop)]
	}
}

// stored returns what an operator sees of an entry.
func (c *Cache) stored(s *policy.Snapshot, key string, e *Entry, tier string) Stored {
	now := c.now()
	one := Stored{
		URL: e.URL, Key: key, Status: e.Status, Tags: e.tagsUnder(s), Tiers: []string{tier}, Bytes: e.Weight(),
		Age: int64(e.age(now) / time.Second), Fresh: int64(e.remaining(now) / time.Second),
	}
	one.Hits, one.Recent = e.Uses.counts(now)
	for i, name := range e.Vary {
		if name != "Cookie" && name != "Authorization" {
			name += ": " + e.Selecting[i]
		}
		one.Vary = append(one.Vary, name)
	}
	return one
}

// tagsUnder returns the tags of the entry, as far as they are known: those of the route that its URL
// has under a policy, and those that its response named.
func (e *Entry) tagsUnder(s *policy.Snapshot) []string {
	v := viewOf(e.URL)
	var tags []string
	if route, params := s.Match(&v); route != nil && route.Cache != nil {
		for _, t := range route.Cache.Tags {
			tags = append(tags, t.Expand(params))
		}
	}
	tags = slices.DeleteFunc(append(tags, e.Tags...), func(tag string) bool {
		return !slices.ContainsFunc(e.Marks, func(m Mark) bool { return m.Slot == slotOf(tag) }) // of a policy since
	})
	slices.Sort(tags)
	return slices.Compact(tags)
}

// urlOf is the URL of a request, with the query that is sent upstream.
func urlOf(ex *exchange.Exchange) string {
	url := "http://"
	if ex.View.TLS {
		url = "https://"
	}
	url += ex.View.Authority + ex.View.Path
	if ex.Plan.Query != "" {
		url += "?" + ex.Plan.Query
	}
	return url
}

// viewOf is the View of a GET of a URL by urlOf.
func viewOf(url string) policy.View {
	v := policy.View{Method: http.MethodGet, Header: http.Header{}}
	scheme, rest, _ := strings.Cut(url, "://")
	v.TLS = scheme == "https"
	rest, v.Query, _ = strings.Cut(rest, "?")
	v.Authority, v.Path, _ = strings.Cut(rest, "/")
	v.Host, v.Path = policy.HostOf(v.Authority), "/"+v.Path
	return v
}
