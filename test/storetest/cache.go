package storetest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/env"
)

// Cache checks what cache.Store promises. open returns an empty store that
// reads the clock now.
func Cache(t *testing.T, open func(t *testing.T, now func() time.Time) cache.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s cache.Store, clock *env.Clock)
	}{
		{"an absent key has no entry and no others", cacheAbsent},
		{"an entry comes back as it was stored", cacheRoundTrip},
		{"a variant is for those who select it", cacheVariants},
		{"variants by different fields live side by side", cacheVarySets},
		{"the newest of the entries that match is given", cacheNewest},
		{"an entry past its keep is gone", cacheKeep},
		{"readers see whole entries while writers replace them", cacheConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := env.NewClock(time.Now().Truncate(time.Second))
			test.run(t, open(t, clock.Now), clock)
		})
	}
}

// cacheEntry is an entry with a body, selected by alternating names and values.
func cacheEntry(clock *env.Clock, body string, selecting ...string) *cache.Entry {
	e := &cache.Entry{
		Status:   200,
		Header:   http.Header{"Content-Type": {"text/plain"}, "Content-Length": {strconv.Itoa(len(body))}},
		Body:     []byte(body),
		Received: clock.Now().UTC(),
		Fresh:    time.Minute,
		Keep:     time.Hour,
	}
	for i := 0; i < len(selecting); i += 2 {
		e.Vary = append(e.Vary, selecting[i])
		e.Selecting = append(e.Selecting, rfc9111.Selecting(selecting[i], []string{selecting[i+1]}))
	}
	return e
}

func cachePut(t *testing.T, s cache.Store, key string, e *cache.Entry) {
	t.Helper()
	if err := s.Put(context.Background(), key, e); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

// cacheBody is the body of what the store finds, or "".
func cacheBody(t *testing.T, s cache.Store, key string, fields http.Header) (text string, others bool) {
	t.Helper()
	found, err := s.Get(context.Background(), key, fields)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	if found.Entry == nil {
		return "", found.Others
	}
	return string(found.Entry.Body), false
}

func cacheWant(t *testing.T, s cache.Store, key string, fields http.Header, text string) {
	t.Helper()
	if got, _ := cacheBody(t, s, key, fields); got != text {
		t.Errorf("Get(%q, %v) = %q, want %q", key, fields, got, text)
	}
}

func cacheAbsent(t *testing.T, s cache.Store, clock *env.Clock) {
	if got, others := cacheBody(t, s, "k", nil); got != "" || others {
		t.Errorf("an empty store gives %q, others %v", got, others)
	}
	cachePut(t, s, "k2", cacheEntry(clock, "two"))
	if got, others := cacheBody(t, s, "k", nil); got != "" || others {
		t.Errorf("another key's entry shows: %q, others %v", got, others)
	}
}

func cacheRoundTrip(t *testing.T, s cache.Store, clock *env.Clock) {
	e := cacheEntry(clock, "hello \x00\xff", "Accept-Language", "de")
	e.Status = 404
	e.Header["Link"] = []string{"</a>", "</b>"}
	e.InitialAge, e.Fresh = 3*time.Second, -time.Second
	e.StaleWhileRevalidate, e.StaleIfError = time.Minute, time.Hour
	e.NoCache, e.NeverStale = true, true
	e.Marks = []cache.Mark{{Slot: 0, Gen: 0}, {Slot: 65535, Gen: 1 << 40}}
	cachePut(t, s, "k", e)
	found, err := s.Get(context.Background(), "k", http.Header{"Accept-Language": {"de"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, found.Entry); diff != "" {
		t.Errorf("stored and found differ (-stored +found):\n%s", diff)
	}
	for name, values := range found.Entry.Header {
		if cap(values) != len(values) {
			t.Errorf("header %s has spare capacity: an append by one response would reach another", name)
		}
	}
	empty := cacheEntry(clock, "")
	empty.Status = 204
	cachePut(t, s, "empty", empty)
	if found, err := s.Get(context.Background(), "empty", http.Header{}); err != nil || found.Entry == nil || found.Entry.Status != 204 {
		t.Errorf("an entry without a body: %+v, %v", found, err)
	}
}

func cacheVariants(t *testing.T, s cache.Store, clock *env.Clock) {
	cachePut(t, s, "k", cacheEntry(clock, "deutsch", "Accept-Language", "de"))
	if got, others := cacheBody(t, s, "k", http.Header{"Accept-Language": {"en"}}); got != "" || !others {
		t.Errorf("another variant's request gives %q, others %v; want nothing, and others", got, others)
	}
	if got, others := cacheBody(t, s, "k", nil); got != "" || !others {
		t.Errorf("a request without the field gives %q, others %v; want nothing, and others", got, others)
	}
	cachePut(t, s, "k", cacheEntry(clock, "english", "Accept-Language", "en"))
	cacheWant(t, s, "k", http.Header{"Accept-Language": {"de"}}, "deutsch")
	cacheWant(t, s, "k", http.Header{"Accept-Language": {"en"}}, "english")
	cachePut(t, s, "k", cacheEntry(clock, "neues deutsch", "Accept-Language", "de"))
	cacheWant(t, s, "k", http.Header{"Accept-Language": {"de"}}, "neues deutsch")
	cacheWant(t, s, "k", http.Header{"Accept-Language": {"en"}}, "english")
}

func cacheVarySets(t *testing.T, s cache.Store, clock *env.Clock) {
	cachePut(t, s, "k", cacheEntry(clock, "a", "X-A", "1"))
	clock.Advance(time.Second)
	cachePut(t, s, "k", cacheEntry(clock, "a and b", "X-A", "2", "X-B", "1"))
	cacheWant(t, s, "k", http.Header{"X-A": {"1"}}, "a")
	cacheWant(t, s, "k", http.Header{"X-A": {"2"}, "X-B": {"1"}}, "a and b")
	cacheWant(t, s, "k", http.Header{"X-A": {"2"}}, "")
}

func cacheNewest(t *testing.T, s cache.Store, clock *env.Clock) {
	cachePut(t, s, "k", cacheEntry(clock, "for all"))
	clock.Advance(time.Second)
	cachePut(t, s, "k", cacheEntry(clock, "for one", "X-A", "1"))
	cacheWant(t, s, "k", http.Header{"X-A": {"1"}}, "for one")
	cacheWant(t, s, "k", http.Header{"X-A": {"2"}}, "for all")
	clock.Advance(time.Second)
	cachePut(t, s, "k", cacheEntry(clock, "for all, later"))
	cacheWant(t, s, "k", http.Header{"X-A": {"1"}}, "for all, later")
}

func cacheKeep(t *testing.T, s cache.Store, clock *env.Clock) {
	cachePut(t, s, "k", cacheEntry(clock, "old"))
	clock.Advance(59 * time.Minute)
	cacheWant(t, s, "k", nil, "old")
	clock.Advance(2 * time.Minute)
	cacheWant(t, s, "k", nil, "")
	late := cacheEntry(clock, "late")
	late.Received = late.Received.Add(-2 * time.Hour)
	cachePut(t, s, "late", late)
	cacheWant(t, s, "late", nil, "")
}

func cacheConcurrent(t *testing.T, s cache.Store, clock *env.Clock) {
	var writers, readers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				text := fmt.Sprintf("%d-%d", w, i)
				e := cacheEntry(clock, text, "X-A", strconv.Itoa(w%2))
				e.Header.Set("X-Text", text)
				if err := s.Put(context.Background(), "k", e); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
		readers.Go(func() {
			for range 50 {
				found, err := s.Get(context.Background(), "k", http.Header{"X-A": {strconv.Itoa(w % 2)}})
				if err != nil {
					t.Errorf("Get: %v", err)
				}
				e := found.Entry
				if e != nil && (e.Header.Get("X-Text") != string(e.Body) || e.Selecting[0] != strconv.Itoa(w%2)) {
					t.Errorf("a torn or foreign entry: header %q, body %q, selected by %q", e.Header.Get("X-Text"), e.Body, e.Selecting)
				}
			}
		})
	}
	writers.Wait()
	readers.Wait()
	for v := range 2 {
		if got, _ := cacheBody(t, s, "k", http.Header{"X-A": {strconv.Itoa(v)}}); got == "" {
			t.Errorf("variant %d is gone after the writers", v)
		}
	}
}

// Replay brings a store all that lives in a backlog, as a rejoin does.
func Replay(ctx context.Context, b failover.Backlog) error {
	b.Replay()
	for b.Pending() {
		if err := b.Drain(ctx); err != nil {
			return err
		}
	}
	return nil
}
