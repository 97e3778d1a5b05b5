package cache_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// newWriteEdge is an edge whose route of writes has a timeout of 300 ms, less than the upstream's,
// and with /list stored.
func newWriteEdge(t *testing.T) *edge {
	e := newEdge(t, options{
		policy:   strings.Replace(testPolicy, "name: write", "name: write\n    timeout: 300ms", 1),
		patience: 300 * time.Millisecond,
	})
	e.upstreamSays(says("old"))
	e.get("/list")
	return e
}

// reads makes the upstream answer GETs with a body, and writes as given.
func (e *edge) reads(body string, write http.HandlerFunc) {
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, body)
			return
		}
		write(w, r)
	})
}

func TestAWriteGoesOnWithoutItsClient(t *testing.T) {
	e := newWriteEdge(t)
	gate := newGate(t)
	e.reads("new", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		gate.wait()
		if r.Context().Err() != nil {
			t.Error("the write was cancelled")
		}
		_, _ = io.WriteString(w, "done")
	})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, e.server.URL+"/item/1", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if resp, err := e.client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-gate.arrived
	leave()
	<-gone
	time.Sleep(50 * time.Millisecond) // the gateway hears of it
	gate.release()
	env.Until(e, "the purge", func() bool { return e.get("/list").body == "new" })
}

// The outcome is unknown: the write may have been executed, now or a moment later.
func TestAWriteWithoutAnAnswerPurgesTwice(t *testing.T) {
	for says, write := range map[string]http.HandlerFunc{
		"no answer in time":   func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body); <-r.Context().Done() },
		"a broken connection": hijack(""),
		"a 502 of its own":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"a 504 of its own":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGatewayTimeout) },
	} {
		t.Run(says, func(t *testing.T) {
			e := newWriteEdge(t)
			e.reads("in between", write)
			if got := e.do(http.MethodPut, "/item/1", "x"); got.status < 500 {
				t.Fatalf("%d %q", got.status, got.body)
			}
			e.expect("at once", e.get("/list"), "in between", "edge; fwd=uri-miss")
			e.expect("a response filled meanwhile is not stored", e.get("/list"), "in between", "edge; fwd=uri-miss")
			e.cache.Settle()
			e.reads("new", write)
			e.expect("then", e.get("/list"), "new", "edge; fwd=uri-miss; fwd-status=200; stored")
			e.expect("and again as ever", e.get("/list"), "new", "edge; hit")
		})
	}
}

// Otherwise anybody could empty lists.
func TestAWriteThatWasNotSentPurgesNothing(t *testing.T) {
	t.Run("refused by the upstream", func(t *testing.T) {
		e := newWriteEdge(t)
		e.reads("new", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		e.do(http.MethodPut, "/item/1", "x")
		e.expect("then", e.get("/list"), "old", "edge; hit")
	})
	t.Run("nothing listens", func(t *testing.T) {
		e := newWriteEdge(t)
		e.upstreamSays(says("", "Connection", "close")) // a write to a reused connection may have arrived
		e.get("/item/1")
		e.upstream.Close()
		if got := e.do(http.MethodPut, "/item/1", "x"); got.status != http.StatusBadGateway {
			t.Errorf("%d", got.status)
		}
		e.expect("then", e.get("/list"), "old", "edge; hit")
	})
	t.Run("the body is not whole", func(t *testing.T) {
		e := newWriteEdge(t)
		arrived := make(chan struct{}, 1)
		e.reads("new", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			arrived <- struct{}{}
		})
		body, more := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, e.server.URL+"/item/1", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = 100
		go func() {
			_, _ = more.Write([]byte("half"))
			_ = more.CloseWithError(errors.New("the client breaks off"))
		}()
		if resp, err := e.client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
		<-arrived
		e.exchange()
		e.expect("then", e.get("/list"), "old", "edge; hit")
	})
}

// A URI may be written in several ways, but is stored under one.
func TestAWritePurgesWhatItsLocationMeans(t *testing.T) {
	for _, location := range []string{"/item/a%7Eb", "/item/%61~b", "/x/../item/a~b", "/item/a~b#part"} {
		e := newWriteEdge(t)
		e.get("/item/a~b")
		e.reads("new", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", location) })
		e.do(http.MethodPost, "/item/1/view", "x")
		e.expect(location, e.get("/item/a~b"), "new", "edge; fwd=uri-miss")
	}
}

// Clients that leave at any moment, and closing the cache in between, must not leak slots.
func TestWritesGiveTheirPlacesBack(t *testing.T) {
	e := newWriteEdge(t)
	e.reads("new", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", 64<<10))
	})
	var clients sync.WaitGroup
	for i := range 200 {
		clients.Go(func() {
			ctx, leave := context.WithTimeout(t.Context(), time.Duration(i%20)*100*time.Microsecond)
			defer leave()
			req, err := http.NewRequestWithContext(ctx, http.MethodPut, e.server.URL+"/item/1", strings.NewReader("x"))
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := e.client.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		})
		if i == 150 {
			go e.cache.Close()
		}
	}
	clients.Wait()
	env.Until(e, "the end", func() bool { return e.active.Load() == 0 && e.cache.Lingering() == 0 })
}
