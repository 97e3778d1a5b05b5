package storetest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/env"
)

// Cache tests the contract of cache.Store. open returns an empty store that uses the clock now.
func Cache(t *testing.T, open func(t *testing.T, now func() time.Time) cache.Store) {
	for _, test := range cacheTests {
		t.Run(test.name, func(t *testing.T) {
			clock := env.NewClock(time.Now().Truncate(time.Second))
			test.run(&cacheTest{open(t, clock.Now), t, clock})
		})
	}
}

// cacheTest is one test's store and helpers. Request fields are alternating names and values.
type cacheTest struct {
	cache.Store
	*testing.T
	clock *env.Clock
}

// entry makes an entry with a body, selected by these fields.
func (c *cacheTest) entry(body string, selecting ...string) *cache.Entry {
	e := &cache.Entry{
		URL:      "http://api.test/" + body,
		Status:   200,
		Header:   http.Header{"Content-Type": {"text/plain"}, "Content-Length": {strconv.Itoa(len(body))}},
		Body:     []byte(body),
		Received: c.clock.Now().UTC(),
		Fresh:    time.Minute,
		Keep:     time.Hour,
	}
	for pair := range slices.Chunk(selecting, 2) {
		e.Vary = append(e.Vary, pair[0])
		e.Selecting = append(e.Selecting, rfc9111.Selecting(pair[0], pair[1:]))
	}
	return e
}

func (c *cacheTest) put(key string, e *cache.Entry) {
	c.Helper()
	if err := c.Put(context.Background(), key, e); err != nil {
		c.Errorf("Put(%q): %v", key, err)
	}
}

func (c *cacheTest) get(key string, fields ...string) cache.Found {
	c.Helper()
	h := http.Header{}
	for pair := range slices.Chunk(fields, 2) {
		h[pair[0]] = pair[1:]
	}
	found, err := c.Get(context.Background(), key, h)
	if err != nil {
		c.Errorf("Get(%q, %v): %v", key, fields, err)
	}
	return found
}

// want expects the entry with that body; "": no entry.
func (c *cacheTest) want(body, key string, fields ...string) {
	c.Helper()
	e := c.get(key, fields...).Entry
	if (e != nil) != (body != "") || e != nil && string(e.Body) != body {
		c.Errorf("Get(%q, %v) = %+v, want %q", key, fields, e, body)
	}
}

// none expects no entry for the key k, and that others is reported.
func (c *cacheTest) none(others bool, fields ...string) {
	c.Helper()
	if found := c.get("k", fields...); found.Entry != nil || found.Others != others {
		c.Errorf("Get(k, %v) = %+v, want nothing, and others %v", fields, found, others)
	}
}

var cacheTests = []struct {
	name string
	run  func(*cacheTest)
}{
	{"an absent key has no entry and no others", func(c *cacheTest) {
		c.none(false)
		c.put("k2", c.entry("two"))
		c.none(false)
	}},
	{"an entry comes back as it was stored", func(c *cacheTest) {
		e := c.entry("hello \x00\xff", "Accept-Language", "de")
		e.Status = 404
		e.Header["Link"] = []string{"</a>", "</b>"}
		e.InitialAge, e.Fresh = 3*time.Second, -time.Second
		e.StaleWhileRevalidate, e.StaleIfError = time.Minute, time.Hour
		e.NoCache, e.NeverStale = true, true
		e.Marks = []cache.Mark{{Slot: 0, Gen: 0}, {Slot: 65535, Gen: 1 << 40}}
		e.Soft = []cache.Mark{{Slot: 7, Gen: 1}}
		c.put("k", e)
		found := c.get("k", "Accept-Language", "de").Entry
		if diff := cmp.Diff(e, found, cmpopts.IgnoreUnexported(cache.Uses{})); diff != "" {
			c.Fatalf("stored and found differ (-stored +found):\n%s", diff)
		}
		for name, values := range found.Header {
			if cap(values) != len(values) {
				c.Errorf("header %s has spare capacity: an append by one response would reach another", name)
			}
		}
		empty := c.entry("")
		empty.Status = 204
		c.put("empty", empty)
		if found := c.get("empty"); found.Entry == nil || found.Entry.Status != 204 {
			c.Errorf("an entry without a body: %+v", found)
		}
	}},
	{"a variant is only given to requests that select it", func(c *cacheTest) {
		c.put("k", c.entry("deutsch", "Accept-Language", "de"))
		c.none(true, "Accept-Language", "en")
		c.none(true)
		c.put("k", c.entry("english", "Accept-Language", "en"))
		c.want("deutsch", "k", "Accept-Language", "de")
		c.want("english", "k", "Accept-Language", "en")
		c.put("k", c.entry("neues deutsch", "Accept-Language", "de"))
		c.want("neues deutsch", "k", "Accept-Language", "de")
		c.want("english", "k", "Accept-Language", "en")
	}},
	{"variants by different fields coexist", func(c *cacheTest) {
		c.put("k", c.entry("a", "X-A", "1"))
		c.clock.Advance(time.Second)
		c.put("k", c.entry("a and b", "X-A", "2", "X-B", "1"))
		c.want("a", "k", "X-A", "1")
		c.want("a and b", "k", "X-A", "2", "X-B", "1")
		c.want("", "k", "X-A", "2")
	}},
	{"the newest of the entries that match is given", func(c *cacheTest) {
		c.put("k", c.entry("for all"))
		c.clock.Advance(time.Second)
		c.put("k", c.entry("for one", "X-A", "1"))
		c.want("for one", "k", "X-A", "1")
		c.want("for all", "k", "X-A", "2")
		c.clock.Advance(time.Second)
		c.put("k", c.entry("for all, later"))
		c.want("for all, later", "k", "X-A", "1")
	}},
	{"an entry is gone after its Keep", func(c *cacheTest) {
		c.put("k", c.entry("old"))
		c.clock.Advance(59 * time.Minute)
		c.want("old", "k")
		c.clock.Advance(2 * time.Minute)
		c.want("", "k")
		late := c.entry("late")
		late.Received = late.Received.Add(-2 * time.Hour)
		c.put("late", late)
		c.want("", "late")
	}},
	{"entries are found by their URL, each variant and not when expired", func(c *cacheTest) {
		finder, ok := c.Store.(cache.Finder)
		if !ok {
			c.Skip("the store is not searched")
		}
		c.put("one", c.entry("wanted", "X-A", "1"))
		c.put("one", c.entry("wanted", "X-A", "2"))
		c.put("two", c.entry("wanted"))
		c.put("other", c.entry("other"))
		old := c.entry("wanted")
		old.Keep = time.Second
		c.put("expired", old)
		c.clock.Advance(2 * time.Second)
		find := func(most int) (keys []string) {
			err := finder.Find(context.Background(), func(url string) bool { return url == "http://api.test/wanted" }, func(key string, e *cache.Entry) bool {
				if string(e.Body) != "wanted" {
					c.Errorf("%s: %+v", key, e)
				}
				keys = append(keys, key)
				return len(keys) < most
			})
			if err != nil {
				c.Error(err)
			}
			slices.Sort(keys)
			return slices.Compact(keys) // a search may find one twice
		}
		if keys := find(100); !slices.Equal(keys, []string{"one", "two"}) {
			c.Errorf("found %q", keys)
		}
		if keys := find(1); len(keys) != 1 {
			c.Errorf("after the first one: %q", keys)
		}
		ended, end := context.WithCancel(context.Background())
		end()
		if err := finder.Find(ended, func(string) bool { return true }, func(string, *cache.Entry) bool { return true }); err == nil {
			c.Error("a search that had no time gives no error")
		}
	}},
	{"readers see whole entries while writers replace them", func(c *cacheTest) {
		var all sync.WaitGroup
		for w := range 4 {
			variant := strconv.Itoa(w % 2)
			all.Go(func() {
				for i := range 50 {
					text := fmt.Sprintf("%d-%d", w, i)
					e := c.entry(text, "X-A", variant)
					e.Header.Set("X-Text", text)
					c.put("k", e)
				}
			})
			all.Go(func() {
				for range 50 {
					e := c.get("k", "X-A", variant).Entry
					if e != nil && (e.Header.Get("X-Text") != string(e.Body) || e.Selecting[0] != variant) {
						c.Errorf("a torn or foreign entry: header %q, body %q, selected by %q", e.Header.Get("X-Text"), e.Body, e.Selecting)
					}
				}
			})
		}
		all.Wait()
		for _, variant := range []string{"0", "1"} {
			if c.get("k", "X-A", variant).Entry == nil {
				c.Errorf("variant %s is gone after the writers", variant)
			}
		}
	}},
}

// Replay sends everything that a backlog holds to its store, as a rejoin does.
func Replay(ctx context.Context, b failover.Backlog) error {
	b.Replay()
	for b.Pending() {
		if err := b.Drain(ctx); err != nil {
			return err
		}
	}
	return nil
}
