package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

// crowd is a cache between clients and an origin. The test decides when and how the origin
// responds.
type crowd struct {
	snapshot *policy.Snapshot
	cache    *cache.Cache
	tags     *cache.Tags
	handler  func(r *http.Request) (*http.Response, error)

	mu      sync.Mutex
	broken  bool        // a request was aborted; guarded by mu
	kind    string      // how new requests are answered; guarded by mu
	pending []*answer   // requests at the origin; guarded by mu
	clients []*crowding // only the test touches it
}

// answer is a request at the origin. The response always carries the requester's number.
type answer struct {
	client, lang, kind string
	head               chan error // nil: the head may go out
	body               *io.PipeWriter
	stage              int
}

// crowding is a client.
type crowding struct {
	id, lang string
	leave    context.CancelFunc
	left     bool
	done     chan struct{}

	resp *http.Response // once done
	body string
	err  error
}

var crowdKinds = map[string]http.Header{
	"public":  {"Cache-Control": {"max-age=60"}},
	"vary":    {"Cache-Control": {"max-age=60"}, "Vary": {"X-Lang"}},
	"private": {"Cache-Control": {"private, max-age=60"}},
	"cookie":  {"Cache-Control": {"max-age=60"}},
	"secret":  {"Cache-Control": {"no-store"}},
	"brief":   {"Cache-Control": {"max-age=0"}, "Etag": {`"x"`}},
}

func newCrowd(snapshot *policy.Snapshot) *crowd {
	w := &crowd{snapshot: snapshot, kind: "public", tags: cache.NewTags(cache.TagsConfig{})}
	tiers := &cache.Tiers{Local: memory.NewCache(64<<20, time.Now), Tags: w.tags, Now: time.Now}
	w.cache = cache.New(cache.Config{Store: tiers, Tags: w.tags})
	upstream := w.cache.Transport(roundTrip(w.origin))
	w.handler = func(r *http.Request) (resp *http.Response, err error) {
		rec := httptest.NewRecorder()
		w.cache.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			resp, err = upstream.RoundTrip(r)
		})).ServeHTTP(rec, r)
		if resp == nil && err == nil {
			resp = rec.Result()
		}
		return resp, err
	}
	return w
}

func (w *crowd) origin(r *http.Request) (*http.Response, error) {
	from, to := io.Pipe()
	a := &answer{client: r.Header.Get("X-Client"), lang: r.Header.Get("X-Lang"), head: make(chan error, 1), body: to}
	w.mu.Lock()
	a.kind = w.kind
	w.pending = append(w.pending, a)
	w.mu.Unlock()
	stop := context.AfterFunc(r.Context(), func() { _ = to.CloseWithError(context.Canceled) })
	select {
	case err := <-a.head:
		if err != nil {
			stop()
			return nil, err
		}
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	h := crowdKinds[a.kind].Clone()
	if a.kind == "cookie" {
		h.Set("Set-Cookie", "id="+a.client)
	}
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: h, Body: from, Request: r,
		ContentLength: -1, TransferEncoding: []string{"chunked"},
	}, nil
}

// advance moves a request at the origin on by one stage, or aborts it.
func (w *crowd) advance(i int, breaks bool) {
	w.mu.Lock()
	a := w.pending[i]
	w.broken = w.broken || breaks
	last := breaks || a.stage == 2
	if last {
		w.pending = append(w.pending[:i:i], w.pending[i+1:]...)
	}
	w.mu.Unlock()
	whole := fmt.Sprintf("%s for %s in %s, whole", a.kind, a.client, a.lang)
	stage := a.stage
	a.stage++
	switch {
	case stage == 0 && breaks:
		a.head <- errors.New("no answer")
	case breaks:
		_ = a.body.CloseWithError(io.ErrUnexpectedEOF)
	case stage == 0:
		a.head <- nil
	case stage == 1:
		go func() { _, _ = io.WriteString(a.body, whole[:len(whole)/2]) }()
	default:
		go func() {
			_, _ = io.WriteString(a.body, whole[len(whole)/2:])
			_ = a.body.Close()
		}()
	}
}

// start sends a client's request.
func (w *crowd) start(lang string, header http.Header) {
	c := &crowding{id: strconv.Itoa(len(w.clients)), lang: lang, done: make(chan struct{})}
	w.clients = append(w.clients, c)
	r := httptest.NewRequest(http.MethodGet, "/strict/a", nil)
	r.Header = header.Clone()
	r.Header.Set("X-Client", c.id)
	r.Header.Set("X-Lang", lang)
	ex := &exchange.Exchange{Snapshot: w.snapshot, View: policy.View{
		Method: r.Method, Host: "api.test", Authority: "api.test", Path: r.URL.Path, Header: r.Header, Now: time.Now(),
	}}
	ex.Route, ex.Params = w.snapshot.Match(&ex.View)
	ctx, cancel := context.WithCancel(exchange.With(context.Background(), ex))
	c.leave = cancel
	go func() {
		defer cancel() // as a server does when a handler returns
		defer close(c.done)
		if c.resp, c.err = w.handler(r.WithContext(ctx)); c.err == nil {
			var b []byte
			b, c.err = io.ReadAll(c.resp.Body)
			c.body = string(b)
			_ = c.resp.Body.Close()
		}
	}()
}

// judge says what is wrong with a client's response.
func (c *crowding) judge() string {
	if c.err != nil || c.resp.StatusCode == http.StatusGatewayTimeout {
		return ""
	}
	var kind, id, lang string
	if n, _ := fmt.Sscanf(strings.ReplaceAll(c.body, ",", " "), "%s for %s in %s whole", &kind, &id, &lang); n != 3 || !strings.HasSuffix(c.body, ", whole") {
		return "is not whole, and looks so"
	}
	status := c.resp.Header.Get("Cache-Status")
	switch {
	case id != c.id && kind != "public" && kind != "vary" && kind != "brief":
		return "is another's"
	case id != c.id && kind == "brief" && strings.Contains(status, "collapsed") && !strings.Contains(status, "stale-if-error"):
		return "was never fresh"
	case kind == "vary" && lang != c.lang:
		return "is of another variant"
	}
	if cookie := c.resp.Header.Get("Set-Cookie"); cookie != "" && cookie != "id="+c.id {
		return "carries another's cookie"
	}
	return ""
}

// TestCrowdsGetWhatIsTheirs starts, answers, aborts and abandons requests for one resource in
// random order. It waits until everything settles after each step, and checks every client's
// response.
func TestCrowdsGetWhatIsTheirs(t *testing.T) {
	snapshot, err := policy.Parse("test.yaml", []byte(testPolicy), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	kinds := []string{"public", "public", "vary", "private", "cookie", "secret", "brief"}
	requests := []http.Header{{}, {}, {}, {}, {"Cache-Control": {"no-cache"}}, {"Cache-Control": {"no-store"}}, {"Cache-Control": {"max-age=0"}}}
	shared := 0
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // a bubble has no deadline to ask for
			w := newCrowd(snapshot)
			for range rapid.IntRange(10, 60).Draw(t, "steps") {
				w.step(t, kinds, requests)
				synctest.Wait()
			}
			for w.settle() {
			}
			for _, c := range w.clients {
				<-c.done
				if c.err != nil && !c.left && !w.broken {
					t.Fatalf("client %s got %v, although no request was aborted", c.id, c.err)
				}
				if fault := c.judge(); fault != "" {
					t.Fatalf("client %s (%s) got %q %v, which %s", c.id, c.lang, c.body, c.resp.Header, fault)
				}
				if c.err == nil && strings.Contains(c.resp.Header.Get("Cache-Status"), "collapsed") {
					shared++
				}
			}
			if n := w.cache.Waiting(); n != 0 || w.cache.Recording() != 0 {
				t.Fatalf("%d seats are taken, %d bytes counted", n, w.cache.Recording())
			}
			w.cache.Close()
		})
	})
	if shared == 0 {
		t.Error("no response was ever shared, so the test proves nothing")
	}
}

func (w *crowd) step(t *rapid.T, kinds []string, requests []http.Header) {
	switch op := rapid.IntRange(0, 11).Draw(t, "op"); {
	case op < 5:
		w.start(pick(t, "lang", []string{"de", "en"}), pick(t, "request", requests))
	case op < 9 && len(w.pending) > 0:
		w.advance(rapid.IntRange(0, len(w.pending)-1).Draw(t, "which"), rapid.IntRange(0, 9).Draw(t, "breaks") == 0)
	case op == 9 && len(w.clients) > 0:
		c := w.clients[rapid.IntRange(0, len(w.clients)-1).Draw(t, "who")]
		c.left = true
		c.leave()
	case op == 10:
		time.Sleep(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
	default:
		w.mu.Lock()
		w.kind = pick(t, "kind", kinds)
		w.mu.Unlock()
	}
}

// settle answers the requests still at the origin, and reports whether there were any.
func (w *crowd) settle() bool {
	synctest.Wait()
	w.mu.Lock()
	n := len(w.pending)
	w.mu.Unlock()
	if n > 0 {
		w.advance(0, false)
	}
	return n > 0
}

// A hundred readers of one body keep it in memory once.
func TestAHundredReadersHoldOneBody(t *testing.T) {
	const clients, size = 100, 4 << 20
	snapshot, err := policy.Parse("test.yaml", []byte(strings.Replace(testPolicy, "100KiB", "8MiB", 1)), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	w := newCrowd(snapshot)
	defer w.cache.Close()
	gate := newGate(t)
	upstream := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Cache-Control", "max-age=60")
		out.Header().Set("Content-Length", strconv.Itoa(size))
		zeros := make([]byte, 4096)
		for range size / 2 / len(zeros) {
			_, _ = out.Write(zeros)
		}
		flush(out)
		gate.wait()
		for range size / 2 / len(zeros) {
			_, _ = out.Write(zeros)
		}
	}))
	defer upstream.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	trip := w.cache.Transport(roundTrip(func(r *http.Request) (*http.Response, error) {
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host = "http", strings.TrimPrefix(upstream.URL, "http://")
		return transport.RoundTrip(out)
	}))
	before := heap()
	var half, done sync.WaitGroup
	half.Add(clients)
	for range clients {
		r := httptest.NewRequest(http.MethodGet, "/strict/a", nil)
		ex := &exchange.Exchange{Snapshot: snapshot, View: policy.View{Method: r.Method, Host: "api.test", Path: r.URL.Path, Header: r.Header, Now: time.Now()}}
		ex.Route, ex.Params = snapshot.Match(&ex.View)
		ex.Plan = &exchange.Plan{Key: "key", Now: ex.View.Now, Lookup: true, Store: true, Shared: true, Forward: "uri-miss"}
		done.Go(func() {
			resp, err := trip.RoundTrip(r.WithContext(exchange.With(t.Context(), ex)))
			if err != nil {
				t.Error(err)
				half.Done()
				return
			}
			defer func() { _ = resp.Body.Close() }()
			buf, n := make([]byte, 512), 0
			for n < size/2 {
				m, err := resp.Body.Read(buf[:min(len(buf), size/2-n)])
				if n += m; err != nil {
					t.Error(err)
					break
				}
			}
			half.Done()
			if rest, err := io.Copy(io.Discard, resp.Body); err != nil || rest != size/2 {
				t.Errorf("then %d bytes, %v", rest, err)
			}
		})
	}
	half.Wait()
	if grown := heap() - before; grown > 2*size {
		t.Errorf("half of a body of %d bytes, given to %d clients, holds %d bytes", size, clients, grown)
	}
	gate.release()
	done.Wait()
}

func heap() int {
	runtime.GC()
	runtime.GC() // frees what pools released
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
