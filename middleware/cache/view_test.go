package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

func (e *edge) snapshot() *policy.Snapshot {
	e.Helper()
	s, err := policy.Parse("test.yaml", []byte(testPolicy), nil)
	if err != nil {
		e.Fatal(err)
	}
	return s
}

// find looks for a URL.
func (e *edge) find(url string) cache.FoundURL {
	e.Helper()
	f, err := e.cache.Find(e.Context(), e.snapshot(), url, false)
	if err != nil {
		e.Error(err)
	}
	return f
}

func TestFind(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("text", "Vary", "X-Client, Cookie", "Cache-Tag", "own, other"))
	e.get("/item/7", "X-Client", "a")
	e.get("/item/7", "X-Client", "b")
	e.clock.Advance(10 * time.Second)
	e.get("/item/7", "X-Client", "b")
	e.get("/item/7?page=2", "X-Client", "a", "X-Test-Authority", "api.test:8080")
	e.get("/item/8", "X-Client", "a")
	f := e.find("http://api.test/item/7")
	if len(f.Entries) != 3 || f.More || f.Error != "" {
		t.Fatalf("%+v", f)
	}
	var got []string
	for _, s := range f.Entries {
		got = append(got, fmt.Sprintf("%s %d %q age %d fresh %d %v hits %d", s.URL, s.Status, s.Vary, s.Age, s.Fresh, s.Tiers, s.Hits))
		if want := []string{"other", "own", "restaurant:7"}; !slices.Equal(s.Tags, want) {
			t.Errorf("tags %q, want %q", s.Tags, want)
		}
		if s.Bytes < 100 || s.Bytes > 2000 || len(s.Key) != 43 {
			t.Errorf("%+v", s)
		}
	}
	slices.Sort(got)
	want := []string{
		`http://api.test/item/7 200 ["Cookie" "X-Client: a"] age 10 fresh 50 [l1] hits 0`,
		`http://api.test/item/7 200 ["Cookie" "X-Client: b"] age 10 fresh 50 [l1] hits 1`,
		`http://api.test:8080/item/7?page=2 200 ["Cookie" "X-Client: a"] age 0 fresh 60 [l1] hits 0`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	e.clock.Advance(61 * time.Second)
	e.get("/item/7", "X-Client", "b") // refills it, and keeps its count
	i := slices.IndexFunc(e.find("http://api.test/item/7").Entries, func(s cache.Stored) bool { return s.Age == 0 })
	if s := e.find("http://api.test/item/7").Entries[i]; s.Hits != 1 {
		t.Errorf("after the refill: %+v", s)
	}
	e.purge(cache.Selection{Tags: []string{"own"}, Soft: true})
	for _, s := range e.find("http://api.test/item/7").Entries {
		if s.Fresh >= 0 {
			t.Errorf("after a soft purge: %+v", s)
		}
	}
	e.purge(cache.Selection{Tags: []string{"own"}})
	if f := e.find("http://api.test/item/7"); len(f.Entries) != 0 {
		t.Errorf("after a purge: %+v", f)
	}
	if _, err := e.cache.Find(t.Context(), e.snapshot(), "item/7", false); !errors.Is(err, cache.ErrSelection) {
		t.Errorf("a path without a slash: %v", err)
	}
}

func TestFindStopsAtABound(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("text"))
	for i := range 101 {
		e.get(fmt.Sprintf("/strict/x?n=%d", i))
	}
	if f := e.find("http://api.test/strict/x"); len(f.Entries) != 0 { // nothing gives it a lifetime
		t.Errorf("%d entries", len(f.Entries))
	}
	e.upstreamSays(says("text", "Cache-Control", "max-age=60"))
	for i := range 101 {
		e.get(fmt.Sprintf("/strict/x?n=%d", i))
	}
	if f := e.find("http://api.test/strict/x"); len(f.Entries) != 100 || !f.More {
		t.Errorf("%d entries, more %v", len(f.Entries), f.More)
	}
}

// With Redis all variants are found, wherever they are.
func TestFindInRedis(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	e, s := newGateway(t, server.URL)
	e.upstreamSays(says("text", "Vary", "X-Client"))
	e.get("/item/7", "X-Client", "a")
	other, _ := newGateway(t, server.URL)
	other.upstreamSays(says("text", "Vary", "X-Client"))
	other.get("/item/7", "X-Client", "b")
	tiers := func(f cache.FoundURL) (all []string) {
		for _, s := range f.Entries {
			all = append(all, fmt.Sprint(s.Vary, s.Tiers, s.Tags))
		}
		slices.Sort(all)
		return all
	}
	e.tiers.Search = s.store.(cache.Finder)
	want := []string{"[X-Client: a] [l1 l2] [restaurant:7]", "[X-Client: b] [l2] [restaurant:7]"}
	if got := tiers(e.find("http://api.test/item/7")); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if f, err := e.cache.Find(t.Context(), e.snapshot(), "http://api.test/item/7", true); err != nil || !slices.Equal(tiers(f), []string{"[X-Client: a] [l1] [restaurant:7]"}) {
		t.Errorf("in memory alone: %q, %v", tiers(f), err)
	}
	server.Kill()
	env.Eventually(t, 10*time.Second, func() error {
		if f := e.find("http://api.test/item/7"); f.Error != "redis is unavailable" || len(f.Entries) != 1 {
			return fmt.Errorf("without Redis: %+v", f)
		}
		return nil
	})
}

func TestOverview(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/item/0" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		size := len(strings.TrimPrefix(r.URL.Path, "/item/"))
		_, _ = w.Write(make([]byte, 1000*size))
	})
	for i := range 25 {
		e.get("/item/" + strings.Repeat("7", i+1))
	}
	e.get("/item/0")
	for range 3 {
		e.get("/item/7")
	}
	e.get("/item/77")
	v := e.cache.Overview(e.snapshot())
	if v.Memory == nil || v.Memory.Entries != 25 || v.Memory.Bytes < 325_000 || v.Memory.Bytes > 400_000 {
		t.Errorf("memory: %+v", v.Memory)
	}
	if len(v.Largest) != 20 || v.Largest[0].URL != "http://api.test/item/"+strings.Repeat("7", 25) || v.Largest[19].URL != "http://api.test/item/777777" {
		t.Errorf("largest: %d, %+v", len(v.Largest), v.Largest)
	}
	if len(v.Hottest) != 20 || v.Hottest[0].URL != "http://api.test/item/7" || v.Hottest[0].Hits != 3 || v.Hottest[1].URL != "http://api.test/item/77" {
		t.Errorf("hottest: %d, %+v", len(v.Hottest), v.Hottest)
	}
	ratios := map[string]cache.RouteOverview{}
	for _, r := range v.Routes {
		ratios[r.Route] = r
	}
	if names := slices.Sorted(maps.Keys(ratios)); !slices.Equal(names, []string{"detail", "list", "mine", "strict"}) {
		t.Errorf("routes %q", names)
	}
	want := map[string]int{"miss": 26, "hit": 4}
	for when, r := range map[string]cache.Ratio{"minute": ratios["detail"].Minute, "hour": ratios["detail"].Hour, "day": ratios["detail"].Day} {
		if r.Requests != 30 || r.Hits != 4./30 || !maps.Equal(r.Outcomes, want) {
			t.Errorf("%s: %+v", when, r)
		}
	}

	// What is long ago counts no more, neither for a ratio nor for the hottest.
	for range 3 {
		e.get("/item/777")
	}
	e.clock.Advance(time.Minute)
	e.upstreamSays(says("new"))
	for range 2 {
		e.get("/item/777")
	}
	v = e.cache.Overview(e.snapshot())
	r := v.Routes[slices.IndexFunc(v.Routes, func(r cache.RouteOverview) bool { return r.Route == "detail" })]
	if r.Minute.Requests != 2 || r.Hour.Requests != 35 || r.Day.Requests != 35 {
		t.Errorf("a minute later: %+v", r)
	}
	if hot := v.Hottest[0]; hot.URL != "http://api.test/item/777" || hot.Hits != 4 || hot.Recent != 2 {
		t.Errorf("a minute later: %+v", hot)
	}
	e.clock.Advance(25 * time.Hour)
	v = e.cache.Overview(e.snapshot())
	if r := v.Routes[1]; r.Day.Requests != 0 || len(r.Day.Outcomes) != 0 {
		t.Errorf("a day later: %+v", r)
	}
}

// Variants whose difference is not shown are still told apart, and listed once although a search of
// Redis may find a key twice.
func TestFindTellsHiddenVariantsApart(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	e, s := newGateway(t, server.URL)
	e.tiers.Search = twice{s.store.(cache.Finder)}
	e.upstreamSays(says("text", "Cache-Control", "max-age=60", "Vary", "Cookie"))
	for _, cookie := range []string{"a=1", "a=2"} {
		e.get("/strict/x", "Cookie", cookie)
	}
	want := [][]string{{"l1", "l2"}, {"l1", "l2"}}
	for range 2 {
		var got [][]string
		for _, s := range e.find("http://api.test/strict/x").Entries {
			if !slices.Equal(s.Vary, []string{"Cookie"}) {
				t.Errorf("%+v", s)
			}
			got = append(got, s.Tiers)
		}
		if !slices.EqualFunc(got, want, slices.Equal[[]string]) {
			t.Errorf("found in %q, want %q", got, want)
		}
		e.tiers.Local, want = nil, [][]string{{"l2"}, {"l2"}} // without a store in memory
	}
	if v := e.cache.Overview(e.snapshot()); v.Memory != nil || len(v.Hottest)+len(v.Largest) != 0 || len(v.Routes) == 0 {
		t.Errorf("without a store in memory: %+v", v)
	}
}

// twice finds everything twice.
type twice struct{ cache.Finder }

func (f twice) Find(ctx context.Context, match func(string) bool, found func(string, *cache.Entry) bool) error {
	return f.Finder.Find(ctx, match, func(key string, e *cache.Entry) bool {
		first := found(key, e)
		return first && found(key, e)
	})
}
