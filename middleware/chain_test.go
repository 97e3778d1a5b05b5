package middleware_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

const testPolicy = `
version: 1
server:
  hosts: [localhost, 127.0.0.1, api.example.org]
  trusted_proxies: [127.0.0.1]
  max_body: 1KiB
upstreams:
  app: {targets: ["http://127.0.0.1:1"]}
cors:
  origins: ["https://jewgo.app", "https://*.preview.example.org"]
  headers: [Content-Type]
  expose: [Retry-After]
  credentials: true
  max_age: 10m
routes:
  - {name: things, match: {methods: [GET], path: "/things/{id}"}, upstream: app}
  - {name: secret, match: {path: "/secret/{rest...}"}, deny: 404}
  - {name: post, match: {methods: [POST], path: /post}, upstream: app}
`

// recorder is a middleware.Metrics.
type recorder struct {
	mu       sync.Mutex
	statuses []int
	panics   int
}

func (m *recorder) End(ex *exchange.Exchange, _ time.Duration) {
	m.mu.Lock()
	m.statuses = append(m.statuses, ex.Facts.Status)
	m.mu.Unlock()
}
func (m *recorder) Panic() { m.mu.Lock(); m.panics++; m.mu.Unlock() }

// lockedBuffer collects log lines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type edge struct {
	*httptest.Server
	log     *lockedBuffer
	metrics *recorder
}

// newEdge serves next behind the chain.
func newEdge(t *testing.T, text string, next http.HandlerFunc) *edge {
	t.Helper()
	snapshot, err := policy.Parse("test.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{log: &lockedBuffer{}, metrics: &recorder{}}
	var live policy.Live
	live.Store(snapshot)
	logger := slog.New(slog.NewJSONHandler(e.log, nil))
	o := &middleware.Observer{Live: &live, Log: logger, Errors: logger, Metrics: e.metrics, Now: time.Now}
	e.Server = httptest.NewServer(middleware.Chain(next, o.Handler, middleware.Headers, middleware.CORS, middleware.Hygiene("edge (this one)"), middleware.Route))
	t.Cleanup(e.Close)
	return e
}

// lines waits for n log lines and returns them decoded: a line may be written after the client sees
// the response.
func (e *edge) lines(t *testing.T, n int) []map[string]any {
	t.Helper()
	env.Eventually(t, env.Patience, func() error {
		if text := e.log.String(); strings.Count(text, "\n") < n {
			return fmt.Errorf("want %d log lines, got:\n%s", n, text)
		}
		return nil
	})
	var lines []map[string]any
	for line := range strings.Lines(e.log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		lines = append(lines, m)
	}
	return lines
}

// raw sends bytes and reads one response to the given method.
func (e *edge) raw(t *testing.T, method, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", e.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestMain(m *testing.M) { env.SideBySide(8); m.Run() }

func TestRequestsThatAreRefusedOrCleaned(t *testing.T) {
	var mu sync.Mutex
	var seen *http.Request
	e := newEdge(t, testPolicy, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = r.Clone(r.Context())
		mu.Unlock()
		_, _ = io.WriteString(w, exchange.From(r.Context()).Params.Get("id"))
	})
	for _, tc := range []struct {
		sentence, line, header string
		status                 int
		check                  func(t *testing.T, res *http.Response)
	}{
		{"an ordinary request passes", "GET /things/7 HTTP/1.1", "Host: localhost", 200, nil},
		{"the host's port and case are ignored", "GET /things/7 HTTP/1.1", "Host: API.example.org:8080", 200, nil},
		{"an empty port equals none", "GET /things/7 HTTP/1.1", "Host: api.example.org:", 200, func(t *testing.T, _ *http.Response) {
			mu.Lock()
			defer mu.Unlock()
			if v := exchange.From(seen.Context()).View; v.Host != "api.example.org" || v.Authority != "api.example.org" {
				t.Errorf("the view has %q, %q", v.Host, v.Authority)
			}
		}},
		{"a port without a host is malformed", "GET /things/7 HTTP/1.1", "Host: :", 400, nil},
		{"another host is misdirected", "GET /things/7 HTTP/1.1", "Host: evil.example", 421, nil},
		{"an address in brackets is well-formed, but not served", "GET /things/7 HTTP/1.1", "Host: [::1]:8080", 421, nil},
		{"a port must be a number", "GET /things/7 HTTP/1.1", "Host: localhost:x.evil.example", 400, nil},
		{"brackets must hold an address", "GET /things/7 HTTP/1.1", "Host: [localhost]", 400, nil},
		{"a host must be one name", "GET /things/7 HTTP/1.1", "Host: localhost,evil.example", 400, nil},
		{"an absolute target's host overrides Host", "GET http://evil.example/things/7 HTTP/1.1", "Host: localhost", 421, nil},
		{"schemes other than http are refused", "GET file://localhost/things/7 HTTP/1.1", "Host: localhost", 400, nil},
		{"TRACE is not served", "TRACE /things/7 HTTP/1.1", "Host: localhost", 501, nil},
		{"a method in lower case is malformed", "get /things/7 HTTP/1.1", "Host: localhost", 400, nil},
		{"an ambiguous path is refused", "GET /things/a%2Fb HTTP/1.1", "Host: localhost", 400, nil},
		{"a malformed query is refused", "GET /things/7?a=1;b=2 HTTP/1.1", "Host: localhost", 400, nil},
		{"an unknown path is not found", "GET /nothing HTTP/1.1", "Host: localhost", 404, nil},
		{"a denied route answers with the policy's status", "GET /secret/x HTTP/1.1", "Host: localhost", 404, nil},
		{"another method gets 405 with Allow", "DELETE /things/7 HTTP/1.1", "Host: localhost", 405, func(t *testing.T, res *http.Response) {
			if got := res.Header.Get("Allow"); got != "GET" && got != "GET, HEAD" {
				t.Errorf("Allow %q", got)
			}
		}},
		{"a body beyond the bound is refused by its length", "POST /post HTTP/1.1", "Host: localhost\r\nContent-Length: 2000", 413, nil},
		{
			"the gateway's names are stripped, and those with underscores", "GET /things/7 HTTP/1.1",
			"Host: localhost\r\nX-Gw-Identity: forged\r\nx_gw_identity: forged\r\nX-Gw-Session: logout\r\nAccept: */*", 200, func(t *testing.T, _ *http.Response) {
				mu.Lock()
				defer mu.Unlock()
				for name := range seen.Header {
					if strings.HasPrefix(name, "X-Gw-") || strings.Contains(name, "_") {
						t.Errorf("%s reached the next layer", name)
					}
				}
				if seen.Header.Get("Accept") == "" {
					t.Error("an innocent header was lost")
				}
			},
		},
		{
			"fields that Connection names are removed before any decision", "GET /things/7 HTTP/1.1",
			"Host: localhost\r\nConnection: x-tenant , Accept-Language, close\r\nX-Tenant: a\r\nAccept-Language: he\r\nAccept: */*", 200, func(t *testing.T, _ *http.Response) {
				mu.Lock()
				defer mu.Unlock()
				if v := exchange.From(seen.Context()).View.Header; v.Get("X-Tenant") != "" || v.Get("Accept-Language") != "" || v.Get("Accept") == "" {
					t.Errorf("the view has %v", v)
				}
			},
		},
		{"path and query are forwarded in canonical form", "GET /things/%61%c3%a9?q=%zz HTTP/1.1", "Host: localhost", 400, nil},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			method, _, _ := strings.Cut(tc.line, " ")
			res := e.raw(t, method, tc.line+"\r\n"+tc.header+"\r\n\r\n")
			if res.StatusCode != tc.status {
				body, _ := io.ReadAll(res.Body)
				t.Fatalf("status %d, want %d: %s", res.StatusCode, tc.status, body)
			}
			if tc.status >= 400 && res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("an error of type %q", res.Header.Get("Content-Type"))
			}
			if res.Header.Get("X-Request-Id") == "" {
				t.Error("no request ID")
			}
			if tc.check != nil {
				tc.check(t, res)
			}
		})
	}
}

func TestCanonicalFormGoesOn(t *testing.T) {
	got := make(chan string, 1)
	e := newEdge(t, testPolicy, func(_ http.ResponseWriter, r *http.Request) {
		got <- r.URL.EscapedPath() + " " + exchange.From(r.Context()).Params.Get("id")
	})
	e.raw(t, "GET", "GET /things/%61%c3%a9 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if g := <-got; g != "/things/a%C3%A9 aé" {
		t.Errorf("got %q", g)
	}
}

func TestCORS(t *testing.T) {
	e := newEdge(t, testPolicy, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://someone.else")
		w.Header().Set("Vary", "Accept-Encoding")
		w.WriteHeader(http.StatusOK)
	})
	request := func(method, path string, header ...string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, e.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := e.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res
	}
	const acao = "Access-Control-Allow-Origin"
	t.Run("a preflight is answered here, on any path", func(t *testing.T) {
		res := request("OPTIONS", "/anything", "Origin", "https://jewgo.app", "Access-Control-Request-Method", "PUT")
		want := map[string]string{
			acao: "https://jewgo.app", "Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "600",
			"Access-Control-Allow-Headers": "Content-Type", "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
		}
		if res.StatusCode != http.StatusNoContent {
			t.Errorf("status %d", res.StatusCode)
		}
		for name, v := range want {
			if got := res.Header.Get(name); got != v {
				t.Errorf("%s: %q, want %q", name, got, v)
			}
		}
	})
	t.Run("the upstream's CORS fields for another origin are replaced", func(t *testing.T) {
		res := request("GET", "/things/1", "Origin", "https://jewgo.app")
		if got := res.Header.Values(acao); len(got) != 1 || got[0] != "https://jewgo.app" {
			t.Errorf("%s: %q", acao, got)
		}
		if got := strings.Join(res.Header.Values("Vary"), ", "); got != "Accept-Encoding, Origin" {
			t.Errorf("Vary: %q", got)
		}
	})
	t.Run("a refusal has the CORS fields too", func(t *testing.T) {
		if got := request("GET", "/nothing", "Origin", "https://a.preview.example.org").Header.Get(acao); got != "https://a.preview.example.org" {
			t.Errorf("%s: %q", acao, got)
		}
	})
	for _, origin := range []string{"https://evil.example", "https://a.b.preview.example.org", "https://.preview.example.org", "https://jewgo.app.evil.example", "null", ""} {
		t.Run("not for "+origin, func(t *testing.T) {
			if got := request("GET", "/things/1", "Origin", origin).Header.Get(acao); got != "" {
				t.Errorf("%s: %q", acao, got)
			}
		})
	}
}

func TestPanics(t *testing.T) {
	e := newEdge(t, testPolicy, func(w http.ResponseWriter, r *http.Request) {
		switch exchange.From(r.Context()).Params.Get("id") {
		case "before":
			panic("lost")
		case "after":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic("lost")
		}
	})
	res, err := http.Get(e.URL + "/things/before")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusInternalServerError || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("before the head: %s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	res, err = http.Get(e.URL + "/things/after")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the head: read error %v, want an aborted connection", err)
	}
	var reasons []any
	for _, l := range e.lines(t, 4) {
		if l["msg"] == "request" {
			reasons = append(reasons, l["reason"], l["status"])
		}
	}
	if len(reasons) != 4 || reasons[0] != "panic" || reasons[1] != 500.0 || reasons[2] != "panic" || reasons[3] != 200.0 {
		t.Errorf("log: %v", reasons)
	}
	e.metrics.mu.Lock()
	defer e.metrics.mu.Unlock()
	if e.metrics.panics != 2 || len(e.metrics.statuses) != 2 {
		t.Errorf("metrics: %+v", e.metrics)
	}
}

func TestAccessLogLine(t *testing.T) {
	e := newEdge(t, testPolicy, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		exchange.From(r.Context()).Facts.Cache = "miss"
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "four")
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+"/post?x=%0d%0a", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", "198.51.100.7")
	req.Header.Set("X-Request-Id", "given-by-a-trusted-proxy")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	line := e.lines(t, 1)[0]
	for key, want := range map[string]any{
		"msg": "request", "request_id": "given-by-a-trusted-proxy", "client": "198.51.100.7", "method": "POST",
		"uri": "/post?x=%0d%0a", "status": 418.0, "route": "post", "bytes_in": 5.0, "bytes_out": 4.0, "cache": "miss",
	} {
		if line[key] != want {
			t.Errorf("%s: %v, want %v", key, line[key], want)
		}
	}
	if got := res.Header.Get("X-Request-Id"); got != "given-by-a-trusted-proxy" {
		t.Errorf("X-Request-Id %q", got)
	}
}

func TestClientThatLeaves(t *testing.T) {
	entered := make(chan struct{})
	e := newEdge(t, testPolicy, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	conn, err := net.Dial("tcp", e.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /things/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-entered
	_ = conn.Close()
	if got := e.lines(t, 1)[0]["status"]; got != 499.0 {
		t.Errorf("status %v, want 499", got)
	}
}

func TestStalledClientsAreCutAndMovingOnesAreNot(t *testing.T) {
	t.Parallel()
	e := newEdge(t, strings.Replace(testPolicy, "max_body: 1KiB", "max_body: 1KiB\n  timeouts: {progress: 1500ms}", 1), func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})
	send := func(pause time.Duration, pieces int) int {
		conn, err := net.Dial("tcp", e.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n")
		for range pieces {
			time.Sleep(pause)
			_, _ = io.WriteString(conn, "12345")
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := send(500*time.Millisecond, 4); got != http.StatusOK {
		t.Errorf("a slow upload that moves: status %d", got)
	}
	if got := send(0, 1); got == http.StatusOK {
		t.Errorf("an upload that stalls: status %d", got)
	}
}

// upload sends a head and, after each pause, a piece of a body of 1,000 bytes. It returns the
// status that comes within patience; 0: none.
func (e *edge) upload(t *testing.T, target string, pause time.Duration, pieces int, patience time.Duration) int {
	t.Helper()
	conn, err := net.Dial("tcp", e.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() {
		_, _ = io.WriteString(conn, "POST "+target+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
		for range pieces {
			time.Sleep(pause)
			if _, err := io.WriteString(conn, strings.Repeat("x", 1000/pieces)); err != nil {
				return
			}
		}
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

const boundsPolicy = `
version: 1
server:
  max_body: 100B
  min_upload_rate: 500B
  timeouts: {progress: 1s, upload_grace: 500ms}
upstreams:
  app: {targets: ["http://127.0.0.1:1"]}
routes:
  - {name: usual, match: {path: /usual}, upstream: app}
  - {name: large, match: {path: /large}, upstream: app, max_body: 1KiB}
  - {name: patient, match: {path: /patient}, upstream: app, max_body: 1KiB, progress: 10s}
  - {name: early, match: {path: /early}, upstream: app, max_body: 1KiB}
`

// A body must arrive at a minimum rate, measured over the time spent waiting for the client. The
// bytes that it sends buy it time, and after the response's head the bound no longer applies.
func TestUploadsHaveAMinimumRate(t *testing.T) {
	read := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).EnableFullDuplex() // as for gRPC
			_ = http.NewResponseController(w).Flush()
		}
		switch _, err := io.Copy(io.Discard, r.Body); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.WriteHeader(http.StatusRequestTimeout)
		case err != nil:
			panic(http.ErrAbortHandler)
		}
	}
	for name, tt := range map[string]struct {
		policy string
		target string
		pause  time.Duration
		pieces int
		want   int
	}{
		"a trickle that never stalls is cut":            {boundsPolicy, "/large", 100 * time.Millisecond, 100, http.StatusRequestTimeout},
		"500 bytes a second will do":                    {boundsPolicy, "/large", 200 * time.Millisecond, 10, http.StatusOK},
		"a pause that nothing sent has paid for is cut": {boundsPolicy, "/large", 900 * time.Millisecond, 1, http.StatusRequestTimeout},
		"where there is no minimum a trickle will do":   {strings.Replace(boundsPolicy, "500B", "0", 1), "/large", 30 * time.Millisecond, 100, http.StatusOK},
		"a stall is cut where there is no minimum":      {strings.Replace(boundsPolicy, "500B", "0", 1), "/large", 2 * time.Second, 1, http.StatusRequestTimeout},
		"but where the route is patient":                {strings.Replace(boundsPolicy, "500B", "0", 1), "/patient", 2 * time.Second, 1, http.StatusOK},
		"after the response's head there is no minimum": {boundsPolicy, "/early", 30 * time.Millisecond, 100, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, tt.policy, read)
			if got := e.upload(t, tt.target, tt.pause, tt.pieces, 10*time.Second); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
}

// Time in which the gateway does not read is not counted against the client.
func TestAnUploadThatIsNotReadIsNotSlow(t *testing.T) {
	t.Parallel()
	e := newEdge(t, boundsPolicy, func(w http.ResponseWriter, r *http.Request) {
		piece := make([]byte, 10)
		for {
			time.Sleep(20 * time.Millisecond) // 2 s for all of it: a slow upstream
			if _, err := r.Body.Read(piece); err != nil {
				if !errors.Is(err, io.EOF) {
					w.WriteHeader(http.StatusRequestTimeout)
				}
				return
			}
		}
	})
	if got := e.upload(t, "/large", 0, 1, 10*time.Second); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
}

// A route's max_body applies only to that route.
func TestRoutesBoundTheirBodies(t *testing.T) {
	e := newEdge(t, boundsPolicy, func(w http.ResponseWriter, r *http.Request) {
		var tooLarge *http.MaxBytesError
		if _, err := io.Copy(io.Discard, r.Body); errors.As(err, &tooLarge) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	for target, want := range map[string]int{"/usual": http.StatusRequestEntityTooLarge, "/large": http.StatusOK} {
		for name, body := range map[string]io.Reader{"by its length": strings.NewReader(strings.Repeat("x", 1000)), "as it comes": io.MultiReader(strings.NewReader(strings.Repeat("x", 1000)))} {
			res, err := http.Post(e.URL+target, "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s %s: %s, want %d", target, name, res.Status, want)
			}
		}
	}
}

func TestSlowReaderOfALargeBodyIsNotCut(t *testing.T) {
	t.Parallel()
	const size = 12 << 20 // far more than the kernel buffers
	body := bytes.Repeat([]byte("x"), size)
	e := newEdge(t, strings.Replace(testPolicy, "max_body: 1KiB", "max_body: 1KiB\n  timeouts: {progress: 1s}", 1), func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body) // at once, as a stored response is
	})
	conn, err := net.Dial("tcp", e.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	_, _ = io.WriteString(conn, "GET /things/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got := 0
	for piece := make([]byte, 128<<10); ; time.Sleep(40 * time.Millisecond) {
		n, err := io.ReadFull(res.Body, piece)
		got += n
		if err != nil {
			break
		}
	}
	if got != size {
		t.Errorf("%d of %d bytes came to a client that took them slowly", got, size)
	}
}

func TestTheEndOfAResponseIsProgressToo(t *testing.T) {
	t.Parallel()
	e := newEdge(t, strings.Replace(testPolicy, "max_body: 1KiB", "max_body: 1KiB\n  timeouts: {progress: 3s}", 1), func(w http.ResponseWriter, _ *http.Request) {
		for _, silence := range []time.Duration{600 * time.Millisecond, 2700 * time.Millisecond} { // each less than progress
			_, _ = io.WriteString(w, "piece")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(silence)
		}
	})
	res, err := http.Get(e.URL + "/things/1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "piecepiece" {
		t.Errorf("%q, %v", body, err)
	}
}

// Whether the client's connection is encrypted is known here, or reported by a trusted proxy.
func TestEncryptionIsToldByTrustedProxiesAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		want   string
	}{
		"a trusted proxy is believed": {testPolicy, "true"},
		"a stranger is not":           {strings.Replace(testPolicy, "trusted_proxies: [127.0.0.1]", "trusted_proxies: []", 1), "false"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, tc.policy, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, strconv.FormatBool(exchange.From(r.Context()).View.TLS))
			})
			res := e.raw(t, "GET", "GET /things/1 HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\r\n")
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != tc.want {
				t.Errorf("TLS %s, %v; want %s", body, err, tc.want)
			}
		})
	}
}
