package proxy

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

func TestMain(m *testing.M) { env.SideBySide(8); goleak.VerifyTestMain(m) }

const patience = 10 * time.Second // far above anything that should happen

// edge is a gateway that consists only of this package, on a real server.
type edge struct {
	*httptest.Server
	pools   *Pools
	facts   chan exchange.Facts // of each request, when its handler has returned
	handler *Handler
}

const testTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// setup configures an edge; the zero value forwards everything to the upstream app.
type setup struct {
	app      policy.Upstream
	progress time.Duration
	route    policy.Route
	cookie   string
	now      func() time.Time // of the pools
	identity func(*exchange.Exchange) (string, string)
	exchange func(ex *exchange.Exchange)                  // sets what the chain decides
	outer    func(w http.ResponseWriter, r *http.Request) // does what the chain does
	between  func(http.RoundTripper) http.RoundTripper    // in place of the cache
	serve    func(s *httptest.Server)                     // starts the server; nil: plain HTTP
}

func newEdge(t *testing.T, s setup) *edge {
	t.Helper()
	e := &edge{pools: NewPools(PoolsConfig{Now: s.now}), facts: make(chan exchange.Facts, 64)}
	snap := snapshotOf(s.app)
	snap.Policy.Server.Timeouts.Progress = policy.Duration(s.progress)
	snap.Routes = []*policy.Route{&s.route}
	snap.Policy.Session.Cookie.Name, snap.Policy.Session.Offload = s.cookie, policy.StringList{"kept"}
	if s.route.Upstream == "" {
		s.route.Upstream = "app"
	}
	s.route.Timeout, s.route.Progress = cmp.Or(s.route.Timeout, s.app.Timeout.Std()), cmp.Or(s.route.Progress, s.progress)
	apply(t, e.pools, snap)
	var transport http.RoundTripper = e.pools
	if s.between != nil {
		transport = s.between(e.pools)
	}
	e.handler = New(Config{Transport: transport, Identity: s.identity})
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := &exchange.Exchange{
			View: policy.View{
				Authority: strings.ToLower(r.Host),
				Method:    r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
				Client: netip.MustParseAddr("192.0.2.7"), TLS: r.TLS != nil, Header: r.Header,
			},
			Snapshot: snap, Route: &s.route, RequestID: "request-1", Traceparent: testTrace,
		}
		if s.exchange != nil {
			s.exchange(ex)
		}
		defer func() { e.facts <- ex.Facts }()
		r = r.WithContext(exchange.With(r.Context(), ex)) // a copy: the server keeps its own
		r.Body = &countedBody{r.Body, &ex.Facts.BytesIn}
		if s.outer != nil {
			s.outer(w, r)
		}
		e.handler.ServeHTTP(w, r)
	}))
	e.Config.ErrorLog = log.New(io.Discard, "", 0)
	if s.serve == nil {
		e.Start()
	} else {
		s.serve(e.Server)
	}
	t.Cleanup(func() {
		e.Close()
		e.pools.Close()
	})
	return e
}

// countedBody counts as the chain does, in the handler's own memory: the race detector finds reads of
// the body after the handler has returned.
type countedBody struct {
	io.ReadCloser
	n *int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	*b.n += int64(n)
	return n, err
}

func snapshotOf(app policy.Upstream) *policy.Snapshot {
	return &policy.Snapshot{Policy: &policy.Policy{
		Session:   policy.Session{Identity: policy.Identity{Header: "X-Gw-Identity"}},
		Upstreams: map[string]policy.Upstream{"app": app},
	}}
}

func apply(t *testing.T, p *Pools, snap *policy.Snapshot) {
	t.Helper()
	commit, err := p.Prepare(snap)
	if err != nil {
		t.Fatal(err)
	}
	commit()
}

// done waits for a request's handler to return and gives its facts.
func (e *edge) done(t *testing.T) exchange.Facts {
	t.Helper()
	return env.Receive(t, "the handler returns", e.facts)
}

// usual is the default upstream of an edge.
func (e *edge) usual() *http.Transport {
	pool := e.pools.current.Load().pools["app"]
	return pool.conns.Load().all[pool.bounds[0]]
}

// do sends a request and reads the whole response.
func (e *edge) do(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := e.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func (e *edge) get(t *testing.T) (*http.Response, string) {
	t.Helper()
	return e.do(t, request(t, http.MethodGet, e.URL, nil))
}

func request(t *testing.T, method, target string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// backend is a real server.
func backend(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(f)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// rawBackend reads a request's head and lets serve do the rest by hand.
func rawBackend(t *testing.T, serve func(conn net.Conn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if line == "\r\n" {
						break
					}
				}
				serve(conn, r)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		cancel()
		<-ended
	})
	return "http://" + l.Addr().String()
}

// nowhere is an address that refuses connections.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func one(target string) policy.Upstream { return policy.Upstream{Targets: []string{target}} }

func hostOf(t *testing.T, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// rawClient sends text to the edge and leaves the connection open.
func (e *edge) rawClient(t *testing.T, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", e.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func answer(format string, args ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, format, args...) }
}
