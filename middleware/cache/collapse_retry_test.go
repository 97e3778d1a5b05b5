package cache_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/test/env"
)

// When a client leads the second attempt and leaves, the others must not fail. One processor makes
// the order of events nearly certain.
func TestALeaverFailsNobodyElse(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	leave := func() {}
	e := newEdge(t, options{mutate: func(_, in http.Header) {
		if in.Get("X-Client") == "leaver" {
			leave()
			runtime.Gosched()
		}
	}})
	for round := range 20 {
		path := "/item/" + strconv.Itoa(round)
		gate := newGate(t)
		e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Client") == "first" {
				gate.wait()
				hijack("")(w, r)
				return
			}
			_, _ = io.WriteString(w, "body")
		})
		serve := func(ctx context.Context, who string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
			r.Header.Set("X-Client", who)
			w := httptest.NewRecorder()
			e.server.Config.Handler.ServeHTTP(w, r)
			return w
		}
		var all sync.WaitGroup
		all.Go(func() { serve(t.Context(), "first") })
		<-gate.arrived
		ctx, cancel := context.WithCancel(t.Context())
		leave = cancel
		const stayers = 10
		var failed atomic.Int64
		for range stayers {
			all.Go(func() {
				if w := serve(t.Context(), "stayer"); w.Code != http.StatusOK {
					failed.Add(1)
				}
			})
		}
		env.Until(e, "the stayers", func() bool { return e.cache.Waiting() == 1+stayers })
		all.Go(func() { serve(ctx, "leaver") })
		env.Until(e, "the leaver", func() bool { return e.cache.Waiting() == 2+stayers }) // the last to wait is woken first
		gate.release()
		all.Wait()
		cancel()
		if failed.Load() > 0 {
			t.Fatalf("round %d: %d of %d clients that stayed got a failure, although the upstream answers them", round, failed.Load(), stayers)
		}
	}
}

// A response that clients got as a 304 is stored, and its memory is released after that.
func TestFlightsThatPersistAreNotHeld(t *testing.T) {
	const n, size = 40, 1 << 20
	e := newEdge(t, options{
		policy: strings.NewReplacer("100KiB", "2MiB", "query: {allow: [page, latitude], round: {latitude: 3}}", "query: {allow: [page]}").Replace(testPolicy),
	})
	e.tiers.Local = memory.NewCache(1<<20, e.clock.Now) // nothing stays
	body := pattern(size)
	var gates sync.Map
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(body[:size/2])
		flush(w)
		g, _ := gates.Load(r.URL.Query().Get("page"))
		<-g.(chan struct{})
		_, _ = w.Write(body[size/2:])
	})
	before := heapInUse()
	for i := range n {
		g := make(chan struct{})
		gates.Store(strconv.Itoa(i), g)
		got := e.get("/list?page="+strconv.Itoa(i), "If-None-Match", "*")
		close(g)
		if got.status != 304 {
			t.Fatalf("%d, %s", got.status, got.cacheStatus())
		}
	}
	e.cache.Settle()
	if grown := int64(heapInUse()) - int64(before); grown > n*size/4 {
		t.Errorf("%d bytes are held after %d fills of %d that have ended, with a memory of 1 MiB", grown, n, size)
	}
}

// A body that has outgrown its recording ends with its last reader, even if a client got a 304
// meanwhile.
func TestAWindowEndsWithItsLastReader(t *testing.T) {
	e := newEdge(t, options{})
	ended := make(chan struct{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		chunk := pattern(64 << 10)
		for {
			if _, err := w.Write(chunk); err != nil || r.Context().Err() != nil {
				close(ended)
				return
			}
		}
	})
	reader, err := e.open(t.Context(), "/list")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(reader.Body, make([]byte, 1<<20))
	time.Sleep(300 * time.Millisecond) // the window is full: the flight waits for its reader
	if got := e.get("/list", "If-None-Match", `"v1"`); got.status != 304 {
		t.Fatalf("%d, %s", got.status, got.cacheStatus())
	}
	_ = reader.Body.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("nobody reads, but the upstream request still runs after 10 s")
		e.cache.Close() // lets the upstream's server close
	}
}

// RFC 9110, 15.4.5: a 304 has the Vary that the 200 would have.
func TestA304OfAConditionalMissSaysVary(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(listing, "Content-Type", "application/json", "Etag", `"v1"`))
	got := e.get("/list", "Accept-Encoding", "br", "If-None-Match", `W/"v1"`)
	if got.status != 304 || got.header.Get("Vary") == "" {
		t.Errorf("a miss: %d with Vary %q", got.status, got.header.Values("Vary"))
	}
	e.cache.Settle()
	got = e.get("/list", "Accept-Encoding", "br", "If-None-Match", `W/"v1"`)
	if got.status != 304 || got.header.Get("Vary") == "" {
		t.Errorf("a hit: %d with Vary %q", got.status, got.header.Values("Vary"))
	}
}
