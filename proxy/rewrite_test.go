package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// echoBackend answers with nothing and hands out the requests that reached it.
func echoBackend(t *testing.T) (target string, seen chan *http.Request) {
	seen = make(chan *http.Request, 16)
	return backend(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r }), seen
}

func TestRequestHeaders(t *testing.T) {
	shared := func(ex *exchange.Exchange) { ex.Plan = &exchange.Plan{Shared: true} }
	private := func(ex *exchange.Exchange) { ex.Plan = &exchange.Plan{} }
	tests := []struct {
		name     string
		send     http.Header
		exchange func(*exchange.Exchange)
		cache    *policy.CacheRule
		want     map[string][]string // nil: must not arrive
	}{
		{
			name: "what a client says about itself is replaced",
			send: http.Header{"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"}},
			want: map[string][]string{"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Host": {"shop.example:8080"}, "X-Forwarded-Proto": {"http"}},
		},
		{
			name: "what speaks in a proxy's name stays behind",
			send: http.Header{
				"Forwarded": {"for=10.0.0.1"}, "X-Forwarded-Prefix": {"/a"}, "X-Forwarded-Port": {"1"}, "X-Forwarded-Server": {"a"},
				"X-Real-Ip": {"10.0.0.1"}, "X-Original-Url": {"/a"}, "X-Rewrite-Url": {"/a"}, "X-Http-Method-Override": {"PUT"},
				"X-Method-Override": {"PUT"}, "Proxy": {"http://evil"},
			},
			want: map[string][]string{
				"Forwarded": nil, "X-Forwarded-Prefix": nil, "X-Forwarded-Port": nil, "X-Forwarded-Server": nil,
				"X-Real-Ip": nil, "X-Original-Url": nil, "X-Rewrite-Url": nil, "X-Http-Method-Override": nil,
				"X-Method-Override": nil, "Proxy": nil,
			},
		},
		{
			name: "a name with an underscore stays behind",
			send: http.Header{"X_Gw_Identity": {"admin"}, "Script_name": {"/ok"}},
			want: map[string][]string{"X_gw_identity": nil, "X_Gw_Identity": nil, "Script_name": nil},
		},
		{
			name: "the gateway adds itself and the request's ID",
			send: http.Header{"Via": {"1.0 client"}, "X-Request-Id": {"forged"}},
			want: map[string][]string{"Via": {"1.0 client", "1.1 edge"}, "X-Request-Id": {"request-1"}},
		},
		{
			name: "hop-by-hop fields end here, and none of the gateway's can be named one",
			send: http.Header{"Connection": {"X-Hop, X-Gw-Identity, X-Forwarded-For, Via"}, "X-Hop": {"1"}, "Keep-Alive": {"1"}, "Proxy-Authorization": {"a"}},
			want: map[string][]string{"X-Hop": nil, "Keep-Alive": nil, "Proxy-Authorization": nil, "X-Gw-Identity": {"signed"}, "X-Forwarded-For": {"192.0.2.7"}, "Via": {"1.1 edge"}},
		},
		{
			name: "end-to-end fields pass as they are, in the trace that the request is in",
			send: http.Header{"Traceparent": {"in another trace"}, "Tracestate": {"a=1"}, "Te": {"trailers"}, "Authorization": {"Bearer a"}, "User-Agent": {"curl"}},
			want: map[string][]string{"Traceparent": {testTrace}, "Tracestate": {"a=1"}, "Te": {"trailers"}, "Authorization": {"Bearer a"}, "User-Agent": {"curl"}},
		},
		{
			name: "the identity is the gateway's, and the session cookie stays behind",
			send: http.Header{"X-Gw-Identity": {"forged"}, "Cookie": {"a=1; __Host-gw=sealed; b=2"}},
			want: map[string][]string{"X-Gw-Identity": {"signed"}, "Cookie": {"a=1; b=2"}},
		},
		{
			name:     "a private entry is filled with identity",
			send:     http.Header{"X-Gw-Identity": {"forged"}, "Cookie": {"a=1"}},
			exchange: private, cache: &policy.CacheRule{},
			want: map[string][]string{"X-Gw-Identity": {"signed"}, "Cookie": {"a=1"}},
		},
		{
			name:     "a shared entry is filled by nobody",
			send:     http.Header{"X-Gw-Identity": {"forged"}, "Cookie": {"a=1; __Host-gw=sealed"}, "Authorization": {"Bearer a"}},
			exchange: shared, cache: &policy.CacheRule{},
			want: map[string][]string{"X-Gw-Identity": nil, "Cookie": {"a=1"}, "Authorization": {"Bearer a"}}, // the cache builds the cookies
		},
		{
			name: "no protocol but a route's own is switched to",
			send: http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAMAAABk"}},
			want: map[string][]string{"Upgrade": nil, "Http2-Settings": nil, "Connection": nil},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, seen := echoBackend(t)
			e := newEdge(t, setup{
				app: one(target), cookie: "__Host-gw", exchange: tt.exchange, route: policy.Route{Cache: tt.cache},
				identity: func(*exchange.Exchange) (string, string) { return "X-Gw-Identity", "signed" },
			})
			req := request(t, http.MethodGet, e.URL, nil)
			req.Host = "shop.example:8080"
			req.Header = tt.send
			e.do(t, req)
			got := <-seen
			if got.Host != "shop.example:8080" {
				t.Errorf("Host = %q, want the client's", got.Host)
			}
			for name, want := range tt.want {
				if diff := cmp.Diff(want, got.Header[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func TestIdentityWithoutAValueIsNotSent(t *testing.T) {
	target, seen := echoBackend(t)
	e := newEdge(t, setup{app: one(target), identity: func(*exchange.Exchange) (string, string) { return "X-Who", "" }})
	req := request(t, http.MethodGet, e.URL, nil)
	req.Header.Set("X-Who", "forged")
	e.do(t, req)
	if got := (<-seen).Header["X-Who"]; got != nil {
		t.Errorf("X-Who = %q, want none", got)
	}
}

func TestURLThatGoesUpstream(t *testing.T) {
	tests := []struct {
		name, path, query string
		plan              *exchange.Plan
		want              string
	}{
		{"the canonical path, not the client's", "/a/b", "x=1", nil, "/a/b?x=1"},
		{"escapes stay as they were decided", "/caf%C3%A9/a%20b", "", nil, "/caf%C3%A9/a%20b"},
		{"an escape that net/url would not write", "/a%2Ab!", "", nil, "/a%2Ab!"},
		{"the query is not tidied", "/", "b=%41&&a=", nil, "/?b=%41&&a="},
		{"what is keyed is what is sent", "/a", "x=1&utm=2", &exchange.Plan{Query: "x=1"}, "/a?x=1"},
		{"a plan may drop the whole query", "/a", "utm=2", &exchange.Plan{}, "/a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, seen := echoBackend(t)
			e := newEdge(t, setup{app: one(target), exchange: func(ex *exchange.Exchange) {
				ex.View.Path, ex.View.Query, ex.Plan = tt.path, tt.query, tt.plan
			}})
			e.do(t, request(t, http.MethodGet, e.URL+"/client/../path?client=1&", nil))
			if got := (<-seen).RequestURI; got != tt.want {
				t.Errorf("upstream saw %s, want %s", got, tt.want)
			}
		})
	}
}

func TestHTTPSIsForwarded(t *testing.T) {
	target, seen := echoBackend(t)
	e := newEdge(t, setup{app: one(target), exchange: func(ex *exchange.Exchange) { ex.View.TLS = true }})
	e.get(t)
	if got := (<-seen).Header.Get("X-Forwarded-Proto"); got != "https" {
		t.Errorf("X-Forwarded-Proto = %q, want https", got)
	}
}

func TestViaOverHTTP2(t *testing.T) {
	target, seen := echoBackend(t)
	e := newEdge(t, setup{app: one(target), serve: func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	}})
	e.get(t)
	if got := (<-seen).Header.Get("Via"); got != "2.0 edge" {
		t.Errorf("Via = %q, want 2.0 edge", got)
	}
}

func TestResponseHeaders(t *testing.T) {
	e := newEdge(t, setup{app: one(backend(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Server", "gunicorn/21.2.0")
		h.Set("Via", "1.1 inner")
		h.Set("X-Request-Id", "echoed") // which Observe has set
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("X-Gw-Session", "logout")
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusTeapot)
	}))})
	resp, _ := e.get(t)
	if resp.StatusCode != http.StatusTeapot {
		t.Errorf("status = %d, want the upstream's 418", resp.StatusCode)
	}
	for name, want := range map[string][]string{
		"Server": nil, "X-Request-Id": nil, "Via": {"1.1 inner", "1.1 edge"}, "X-Hop": nil,
		"X-Gw-Session": {"logout"}, // removed by the session layer
		"Set-Cookie":   {"a=1", "b=2"},
	} {
		if diff := cmp.Diff(want, resp.Header[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	facts := e.done(t)
	if facts.UpstreamCode != http.StatusTeapot || facts.Target == "" || facts.UpstreamTime <= 0 {
		t.Errorf("facts = %+v, want code, target and time of the upstream", facts)
	}
}

func TestResponseIsMarkedBeforeAnythingStoresIt(t *testing.T) {
	stored := make(chan http.Header, 1)
	e := newEdge(t, setup{
		app: one(backend(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", "a") })),
		between: func(next http.RoundTripper) http.RoundTripper {
			return roundTripFunc(func(r *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(r)
				if err == nil {
					stored <- resp.Header.Clone()
				}
				return resp, err
			})
		},
	})
	resp, _ := e.get(t)
	got := <-stored
	if got.Get("Via") != "1.1 edge" || got.Get("Server") != "" {
		t.Errorf("stored header = %v, want Via and no Server", got)
	}
	if via := resp.Header.Values("Via"); len(via) != 1 {
		t.Errorf("Via = %q, want it once", via)
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The bytes on the wire decide: net/http's parser would forgive.
func TestRequestLineOnTheWire(t *testing.T) {
	lines := make(chan string, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		lines <- line
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	}()
	e := newEdge(t, setup{app: one("http://" + l.Addr().String())})
	conn, r := e.rawClient(t, "GET /a%7Eb?q=%2f HTTP/1.1\nHost: a\n\n")
	defer conn.Close()
	if status, err := r.ReadString('\n'); err != nil || !strings.Contains(status, "204") {
		t.Fatalf("status %q, %v", status, err)
	}
	if got := <-lines; got != "GET /a%7Eb?q=%2f HTTP/1.1\r\n" {
		t.Errorf("request line %q", got)
	}
}
