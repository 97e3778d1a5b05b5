package cache_test

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

func TestMain(m *testing.M) { env.SideBySide(8); goleak.VerifyTestMain(m) }

const testPolicy = `
version: 1
upstreams: {up: {targets: ["http://127.0.0.1:1"]}}
cache: {max_object: 100KiB}
routes:
  - name: list
    match: {methods: [GET, HEAD], path: /list}
    upstream: up
    cache:
      ttl: 300s
      stale_while_revalidate: 60s
      stale_if_error: 1h
      query: {allow: [page, latitude], round: {latitude: 3}}
      vary: [Accept-Encoding]
      bypass: ["cookie:access_token"]
      pass: [X-Client, X-Poison]
      tags: [restaurants]
  - name: detail
    match: {methods: [GET, HEAD], path: "/item/{id}"}
    upstream: up
    cache: {ttl: 60s, tags: ["restaurant:{id}"], pass: [X-Client]}
  - name: write
    match: {methods: [PUT, DELETE], path: "/item/{id}"}
    upstream: up
    invalidates: [restaurants, "restaurant:{id}"]
  - {name: view, match: {methods: [POST], path: "/item/{id}/view"}, upstream: up}
  - name: mine
    match: {path: /mine}
    upstream: up
    session: optional
    cache: {mode: strict, key: [session]}
  - name: strict
    match: {path: "/strict/{rest...}"}
    upstream: up
    cache: {mode: strict}
  - {name: rest, match: {path: "/{rest...}"}, upstream: up}
`

// edge is a cache between a client and an upstream, on real connections and with its own clock.
type edge struct {
	*testing.T
	clock    *env.Clock
	cache    *cache.Cache
	tags     *cache.Tags
	tiers    *cache.Tiers
	server   *httptest.Server
	upstream *httptest.Server
	asked    atomic.Int64                      // requests that reached the upstream
	answer   atomic.Pointer[http.HandlerFunc]  // of the upstream
	active   atomic.Int64                      // requests in the edge
	last     atomic.Pointer[exchange.Exchange] // of the newest request; see exchange
	client   *http.Client
}

// options are what tests change in an edge; the zero value is memory only and testPolicy.
type options struct {
	patience time.Duration // for the head of an upstream response; 0: for ever
	clock    *env.Clock
	policy   string
	tiers    func(*cache.Tiers)
	tags     cache.TagsConfig
	random   func() float64
	log      *slog.Logger
	mutate   func(out, in http.Header) // changes the head of an upstream request; in is the client's
}

func newEdge(t *testing.T, o options) *edge {
	t.Helper()
	if o.policy == "" {
		o.policy = testPolicy
	}
	snapshot, err := policy.Parse("test.yaml", []byte(o.policy), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if o.clock == nil {
		o.clock = env.NewClock(time.Now().Truncate(time.Second))
	}
	e := &edge{T: t, clock: o.clock}
	e.tags = cache.NewTags(o.tags)
	e.tiers = &cache.Tiers{Local: memory.NewCache(64<<20, e.clock.Now), Tags: e.tags, Now: e.clock.Now}
	if o.tiers != nil {
		o.tiers(e.tiers)
	}
	e.cache = cache.New(cache.Config{Store: e.tiers, Tags: e.tags, Now: e.clock.Now, Random: o.random, Log: o.log})
	t.Cleanup(e.cache.Close)
	e.upstream = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		w.Header().Set("Date", e.clock.Now().UTC().Format(http.TimeFormat))
		(*e.answer.Load())(w, r)
	}))
	t.Cleanup(e.upstream.Close)
	e.server = httptest.NewServer(e.chain(snapshot, o))
	t.Cleanup(e.server.Close)
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	e.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return e
}

// chain is the relevant part of the gateway's chain around the cache.
func (e *edge) chain(snapshot *policy.Snapshot, o options) http.Handler {
	target, err := url.Parse(e.upstream.URL)
	if err != nil {
		e.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true, ResponseHeaderTimeout: o.patience}
	e.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			if p := exchange.From(pr.In.Context()).Plan; p != nil {
				pr.Out.URL.RawQuery = p.Query
			}
		},
		Transport:     e.cache.Transport(mutated{transport, o.mutate}),
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	cached := e.cache.Handler(proxy)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := &exchange.Exchange{
			View: policy.View{
				Method: r.Method, Host: "api.test", Authority: cmp.Or(r.Header.Get("X-Test-Authority"), "api.test"), Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
				Now: e.clock.Now(), Header: r.Header,
			},
			Snapshot:  snapshot,
			Principal: exchange.Principal{SessionID: r.Header.Get("X-Test-Session"), User: r.Header.Get("X-Test-User")},
		}
		ex.Route, ex.Params = snapshot.Match(&ex.View)
		if r.ContentLength > 0 { // as the proxy does: the server may close a body that the transport asks for its end
			r.Body = &limited{io.LimitReader(r.Body, r.ContentLength), r.Body}
		}
		e.last.Store(ex)
		e.active.Add(1)
		defer e.active.Add(-1)
		cached.ServeHTTP(w, r.WithContext(exchange.With(r.Context(), ex)))
	})
}

type limited struct {
	io.Reader
	io.Closer
}

// mutated changes requests below the cache.
type mutated struct {
	http.RoundTripper
	mutate func(out, in http.Header)
}

func (m mutated) RoundTrip(r *http.Request) (*http.Response, error) {
	if in, ok := exchange.From(r.Context()).View.Header.(http.Header); ok && m.mutate != nil {
		m.mutate(r.Header, in)
	}
	return m.RoundTripper.RoundTrip(r)
}

// upstreamSays sets how the upstream responds from now on.
func (e *edge) upstreamSays(f http.HandlerFunc) { e.answer.Store(&f) }

// says answers with a body, and with headers given as alternating names and values.
func says(body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, body)
	}
}

// reply is the response that a client got.
type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// cacheStatus is the last member of the reply's Cache-Status, which is the edge's own.
func (r reply) cacheStatus() string {
	lines := r.header.Values("Cache-Status")
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// do sends a request with headers given as alternating names and values. path may be an absolute
// URL.
func (e *edge) do(method, path, body string, header ...string) reply {
	e.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, e.server.URL+path, content)
	if err != nil {
		e.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := e.client.Do(req)
	if err != nil {
		e.Fatalf("%s %s: %v", method, path, err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return reply{resp.StatusCode, resp.Header, string(b), err}
}

func (e *edge) get(path string, header ...string) reply {
	e.Helper()
	return e.do(http.MethodGet, path, "", header...)
}

// exchange is the Exchange of the newest answered request: a client may have its response before
// the handler is done.
func (e *edge) exchange() *exchange.Exchange {
	e.Helper()
	env.Until(e, "the end of the request", func() bool { return e.active.Load() == 0 })
	return e.last.Load()
}

// expect compares the body and the start of Cache-Status.
func (e *edge) expect(says string, r reply, body, status string) {
	e.Helper()
	if r.body != body || !strings.HasPrefix(r.cacheStatus(), status) {
		e.Errorf("%s: got %d %q with Cache-Status %q; want %q with %q...", says, r.status, clip(r.body), r.cacheStatus(), clip(body), status)
	}
}

func clip(s string) string { return s[:min(len(s), 60)] }

// gate makes an upstream wait for the test.
type gate struct {
	arrived chan struct{} // receives one for each request that waits
	open    chan struct{}
	once    sync.Once
}

func newGate(t *testing.T) *gate {
	g := &gate{arrived: make(chan struct{}, 100), open: make(chan struct{})}
	t.Cleanup(g.release) // before the servers are closed, which wait for handlers
	return g
}

func (g *gate) wait()    { g.arrived <- struct{}{}; <-g.open }
func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// heapInUse is the reachable memory, in bytes.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
