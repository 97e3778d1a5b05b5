package cache_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

// noFleet is the fleet of a single gateway.
type noFleet struct{}

func (noFleet) Positions(context.Context) ([]cache.Position, error) { return nil, nil }

func (e *edge) purge(what cache.Selection) {
	e.Helper()
	snapshot, err := policy.Parse("test.yaml", []byte(testPolicy), nil)
	if err != nil {
		e.Fatal(err)
	}
	purges := cache.Purges{Tags: e.tags, Fleet: noFleet{}, Now: e.clock.Now}
	if s, err := purges.Start(e.Context(), snapshot, what); err != nil || !s.Applied {
		e.Errorf("%+v: %+v, %v", what, s, err)
	}
}

func TestTagsOfResponses(t *testing.T) {
	for _, tt := range []struct {
		says   string
		header []string
		tag    string
		stays  bool
	}{
		{"Surrogate-Key has spaces", []string{"Surrogate-Key", "one two  three"}, "three", false},
		{"Cache-Tag has commas", []string{"Cache-Tag", "one, two,three"}, "two", false},
		{"both, and several lines", []string{"Cache-Tag", "one", "Cache-Tag", "two", "Surrogate-Key", "three"}, "two", false},
		{"another tag", []string{"Surrogate-Key", "one two"}, "thre", true},
		{"a malformed tag hides no other", []string{"Cache-Tag", "\u00e9, two"}, "two", false},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(says("old", tt.header...))
			for _, r := range []reply{e.get("/list"), e.get("/list")} {
				if r.body != "old" || r.header.Get("Surrogate-Key")+r.header.Get("Cache-Tag") != "" {
					t.Errorf("%q with %v", r.body, r.header)
				}
			}
			e.upstreamSays(says("new"))
			e.purge(cache.Selection{Tags: []string{tt.tag}})
			if r := e.get("/list"); (r.body == "old") != tt.stays {
				t.Errorf("after the purge of %s: %q", tt.tag, r.body)
			}
		})
	}
}

func TestTagsOutliveARevalidation(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Surrogate-Key", "one")
		_, _ = w.Write([]byte("text"))
	})
	e.get("/item/1")
	for n := range 130 { // what is kept must not grow with each
		e.clock.Advance(2 * time.Minute)
		if r := e.get("/item/1"); !strings.Contains(r.cacheStatus(), "fwd-status=304; stored") {
			t.Fatalf("it was not revalidated and stored the time %d: %s", n, r.cacheStatus())
		}
	}
	e.purge(cache.Selection{Tags: []string{"one"}})
	if r := e.get("/item/1"); !strings.Contains(r.cacheStatus(), "fwd=uri-miss") {
		t.Errorf("a purge after the revalidation: %s", r.cacheStatus())
	}
}

func TestTagsAreShownWhereThePolicySaysSo(t *testing.T) {
	e := newEdge(t, options{policy: strings.Replace(testPolicy, "max_object: 100KiB", "max_object: 100KiB, expose_tags: true", 1)})
	e.upstreamSays(says("text", "Surrogate-Key", "one two"))
	for range 2 {
		if r := e.get("/list"); r.header.Get("Surrogate-Key") != "one two" {
			t.Errorf("%s: %v", r.cacheStatus(), r.header)
		}
	}
}

func TestTooManyTagsAreNotStored(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("text", "Surrogate-Key", strings.Repeat("x ", 129)))
	if r := e.get("/list"); !strings.HasSuffix(r.cacheStatus(), "detail=tags") {
		t.Errorf("129 tags: %s", r.cacheStatus())
	}
}

// An empty cache asks an upstream for as much at once as its fills say, and for the rest later.
func TestFillsAreBounded(t *testing.T) {
	e := newEdge(t, options{policy: strings.Replace(testPolicy, `targets: ["http://127.0.0.1:1"]`, `targets: ["http://127.0.0.1:1"], fills: 3`, 1)})
	var now, most atomic.Int64
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		_, _ = w.Write([]byte("text"))
	})
	done := make(chan reply)
	for i := range 20 {
		go func() { done <- e.get("/item/" + string(rune('a'+i))) }()
	}
	for range 20 {
		if r := <-done; r.status != http.StatusOK || r.body != "text" {
			t.Errorf("%d %q", r.status, r.body)
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d at once, want 3", most.Load())
	}
}

// A purge costs the same however many entries have the tag: in allocations, in calls of the shared
// store, and in what those carry.
func TestAPurgeCostsTheSameForManyEntries(t *testing.T) {
	cost := func(entries int) (allocations float64, changes int) {
		counters := &strictCounters{}
		tags, _ := upTags(t, counters)
		tiers := &cache.Tiers{Local: memory.NewCache(1<<30, time.Now), Tags: tags, Now: time.Now}
		marks := tags.Marks([]string{"menu"})
		for i := range entries {
			_ = tiers.Put(t.Context(), strconv.Itoa(i), &cache.Entry{Status: 200, Received: time.Now(), Fresh: time.Hour, Keep: time.Hour, Marks: marks})
		}
		found := func() (n int) {
			for i := range entries {
				if f, _ := tiers.Get(t.Context(), strconv.Itoa(i), http.Header{}); f.Entry != nil {
					n++
				}
			}
			return n
		}
		if n := found(); n != entries {
			t.Fatalf("%d of %d entries before the purge", n, entries)
		}
		before := counters.accepted()
		allocations = testing.AllocsPerRun(1, func() { // twice
			if err := tags.Purge(t.Context(), "menu"); err != nil {
				t.Error(err)
			}
		})
		changes = counters.accepted() - before
		if n := found(); n != 0 {
			t.Errorf("%d of %d entries after the purge", n, entries)
		}
		return allocations, changes
	}
	few, fewChanges := cost(10)
	many, manyChanges := cost(100_000)
	if many > few+10 || manyChanges != fewChanges || fewChanges != 2 {
		t.Errorf("a purge of 10 entries: %v allocations and %d changes in the store; of 100,000: %v and %d", few, fewChanges, many, manyChanges)
	}
}
