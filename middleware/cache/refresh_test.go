package cache_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

func TestAStaleEntryIsValidatedOnceForAll(t *testing.T) {
	for says, tt := range map[string]struct {
		upstream http.HandlerFunc
		body     string
		leader   string
	}{
		"confirmed": {validating(`"v1"`, "Cache-Control", "max-age=10"), `body of "v1"`, "edge; fwd=stale; fwd-status=304; stored"},
		"replaced":  {validating(`"v2"`, "Cache-Control", "max-age=10"), `body of "v2"`, "edge; fwd=stale; fwd-status=200; stored"},
	} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10"))
			e.get("/strict/a")
			e.clock.Advance(20 * time.Second)
			gate := newGate(t)
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) { gate.wait(); tt.upstream(w, r) })
			replies := e.herd(20, "/strict/a", nothing)
			gate.release()
			leaders := 0
			for _, got := range replies() {
				if got.cacheStatus() == tt.leader {
					leaders++
				} else {
					e.expect("a client that waited", got, tt.body, "edge; fwd=stale; collapsed")
				}
			}
			if n := e.asked.Load(); n != 2 || leaders != 1 {
				t.Errorf("the upstream was asked %d times, and %d replies have the leader's Cache-Status", n, leaders)
			}
		})
	}
}

func TestWhoWaitsForAFailedValidationGetsWhatItMay(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("good"))
	e.get("/list")
	e.clock.Advance(10 * time.Minute) // past stale_while_revalidate
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		gate.wait()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	replies := e.herd(10, "/list", nothing)
	gate.release()
	for _, got := range replies() {
		if got.body != "good" || !strings.HasPrefix(got.cacheStatus(), "edge; fwd=stale") || !strings.HasSuffix(got.cacheStatus(), "detail=stale-if-error") {
			t.Errorf("%d %q, Cache-Status %q", got.status, got.body, got.cacheStatus())
		}
	}
	if n := e.asked.Load(); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// A failing upstream is asked after 1, 2, 4 s and so on, not for every request.
func TestAFailingUpstreamIsSpared(t *testing.T) {
	for detail, after := range map[string]time.Duration{
		"stale-if-error":         10 * time.Minute, // past stale_while_revalidate
		"stale-while-revalidate": 301 * time.Second,
	} {
		t.Run(detail, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(says("good"))
			e.get("/list")
			e.clock.Advance(after)
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
			e.asked.Store(0)
			var asked []int64
			for range 16 {
				if got := e.get("/list"); got.body != "good" || !strings.HasSuffix(got.cacheStatus(), "detail="+detail) {
					t.Fatalf("%d %q, Cache-Status %q", got.status, got.body, got.cacheStatus())
				}
				e.cache.Settle()
				asked = append(asked, e.asked.Load())
				e.clock.Advance(time.Second)
			}
			want := []int64{1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5}
			for i := range want {
				if asked[i] != want[i] {
					t.Fatalf("asked, second by second: %d, want %d", asked, want)
				}
			}
			e.clock.Advance(time.Minute)
			e.upstreamSays(says("new"))
			e.get("/list")
			e.cache.Settle()
			e.expect("when it is back", e.get("/list"), "new", "edge; hit; ttl=300")
		})
	}
}

func TestASparedUpstreamIsAskedByWhoWantsValidation(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("good"))
	e.get("/list")
	e.clock.Advance(10 * time.Minute)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	e.get("/list")
	e.upstreamSays(says("new"))
	e.expect("no-cache", e.get("/list", "Cache-Control", "no-cache"), "new", "edge; fwd=request; fwd-status=200; stored")
	e.expect("and so it is known to be back", e.get("/list"), "new", "edge; hit")
}

// XFetch: with beta 1, a fill of 2 s and 1-e^-3 for a random number, a hit
// refreshes if less than 6 s are left.
func TestHotEntriesAreRefreshedEarly(t *testing.T) {
	var random atomic.Uint64 // in ten thousandths
	random.Store(9502)       // 1 - e^-2.9997
	e := newEdge(t, options{random: func() float64 { return float64(random.Load()) / 10000 }})
	slow := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			e.clock.Advance(2 * time.Second)
			_, _ = io.WriteString(w, body)
		}
	}
	for path, early := range map[string]bool{"/list": true, "/item/1": false} { // the second has no stale_while_revalidate
		e.asked.Store(0)
		e.upstreamSays(slow("old"))
		e.get(path)
		ttl := 300 * time.Second
		if !early {
			ttl = 60 * time.Second
		}
		e.clock.Advance(ttl - 7*time.Second)
		e.upstreamSays(slow("new"))
		e.expect("7 s are left", e.get(path), "old", "edge; hit; ttl=7; detail=l1")
		e.cache.Settle()
		if n := e.asked.Load(); n != 1 {
			t.Errorf("%s: asked %d times with 7 s left", path, n)
		}
		e.clock.Advance(2 * time.Second)
		random.Store(0)
		e.expect("5 s are left, and chance says no", e.get(path), "old", "edge; hit; ttl=5; detail=l1")
		random.Store(9502)
		e.expect("5 s are left", e.get(path), "old", "edge; hit; ttl=5; detail=l1")
		e.cache.Settle()
		body, asked := "old", int64(1)
		if early {
			body, asked = "new", 2
		}
		if got := e.get(path); got.body != body || e.asked.Load() != asked {
			t.Errorf("%s: then %q, asked %d times", path, got.body, e.asked.Load())
		}
	}
}

// A request that must wait for the upstream joins the running refresh.
func TestARefreshInTheBackgroundIsJoined(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old"))
	e.get("/list")
	e.clock.Advance(310 * time.Second)
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) { gate.wait(); _, _ = io.WriteString(w, "new") })
	e.get("/list")
	<-gate.arrived
	e.clock.Advance(time.Minute) // past stale_while_revalidate
	replies := e.herd(5, "/list", nothing)
	gate.release()
	for _, got := range replies() {
		e.expect("a client that waited", got, "new", "edge; fwd=stale; collapsed")
	}
	if n := e.asked.Load(); n != 2 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestCloseEndsFillsAndWaitsForThem(t *testing.T) {
	e := newEdge(t, options{})
	var ended atomic.Bool
	arrived := make(chan struct{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		_, _ = io.WriteString(w, "half")
		flush(w)
		<-r.Context().Done()
		ended.Store(true)
	})
	replies := e.herd(3, "/list", nothing)
	<-arrived
	e.cache.Close()
	for _, got := range replies() {
		if got.err == nil && got.status == http.StatusOK { // a 502 if the head had not come
			t.Errorf("%q looks complete", got.body)
		}
	}
	env.Until(e, "the upstream's end", ended.Load)
	e.upstreamSays(says("whole"))
	e.expect("after Close each goes alone", e.get("/list"), "whole", "edge; fwd=uri-miss; fwd-status=200; stored")
}

func TestRefreshesAreBounded(t *testing.T) {
	const most, paths = 64, 80
	e := newEdge(t, options{})
	e.upstreamSays(says("old", "Cache-Control", "max-age=10, stale-while-revalidate=60"))
	get := func(i int) reply { return e.get(fmt.Sprintf("/strict/%d", i)) }
	for i := range paths {
		get(i)
	}
	e.clock.Advance(20 * time.Second)
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		gate.wait()
		says("new", "Cache-Control", "max-age=10")(w, r)
	})
	for i := range paths {
		e.expect("stale", get(i), "old", "edge; hit; ttl=-10")
	}
	gate.release()
	e.cache.Settle()
	if n := e.asked.Load() - paths; n != most {
		t.Errorf("%d refreshes at a time, want %d", n, most)
	}
}
