package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

func TestFailuresBecomeProblems(t *testing.T) {
	raw := func(text string) func(*testing.T) string {
		return func(t *testing.T) string {
			return rawBackend(t, func(conn net.Conn, _ *bufio.Reader) { fmt.Fprint(conn, text) })
		}
	}
	hang := func(t *testing.T) string {
		return backend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}
	tests := []struct {
		name     string
		target   func(*testing.T) string
		upstream string // of the route; "": app
		deadline time.Duration
		status   int
		reason   string
	}{
		{name: "nobody listens", target: nowhere, status: 502, reason: ReasonUnreachable},
		{name: "no head in time", target: hang, status: 504, reason: ReasonTimeout},
		{name: "the request's own deadline passes", target: hang, deadline: 20 * time.Millisecond, status: 504, reason: ReasonTimeout},
		{name: "closed without an answer", target: raw(""), status: 502, reason: ReasonBroken},
		{name: "not HTTP", target: raw("SSH-2.0-OpenSSH_9.2p1\r\n"), status: 502, reason: ReasonBroken},
		{name: "half a head", target: raw("HTTP/1.1 200 OK\r\nContent-"), status: 502, reason: ReasonBroken},
		{name: "two lengths", target: raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), status: 502, reason: ReasonBroken},
		{name: "a head without end", target: raw("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 2*maxResponseHeader)), status: 502, reason: ReasonBroken},
		{name: "a switch that was not requested", target: raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), status: 502, reason: ReasonBroken},
		{name: "a switch to nothing", target: raw("HTTP/1.1 101 Switching Protocols\r\n\r\n"), status: 502, reason: ReasonBroken},
		{name: "no status", target: raw("HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"), status: 502, reason: ReasonBroken},
		{name: "a status below all", target: raw("HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nab"), status: 502, reason: ReasonBroken},
		{name: "an upstream that is not there", target: nowhere, upstream: "missing", status: 503, reason: ReasonNoTarget},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app := one(tt.target(t))
			app.Timeout = policy.Duration(patience)
			if tt.deadline == 0 && tt.status == http.StatusGatewayTimeout {
				app.Timeout = policy.Duration(100 * time.Millisecond)
			}
			e := newEdge(t, setup{app: app, route: policy.Route{Upstream: tt.upstream}, between: func(next http.RoundTripper) http.RoundTripper {
				return roundTripFunc(func(r *http.Request) (*http.Response, error) {
					if tt.deadline == 0 {
						return next.RoundTrip(r)
					}
					ctx, cancel := context.WithTimeout(r.Context(), tt.deadline)
					defer cancel()
					return next.RoundTrip(r.WithContext(ctx))
				})
			}})
			resp, body := e.get(t)
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("got %d %s, want a problem with status %d", resp.StatusCode, resp.Header.Get("Content-Type"), tt.status)
			}
			var doc struct {
				Status int    `json:"status"`
				Detail string `json:"detail"`
			}
			if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.Status != tt.status || doc.Detail == "" {
				t.Errorf("document %q, %v", body, err)
			}
			if strings.Contains(body, "127.0.0.1") || strings.Contains(body, "net/http") || strings.Contains(body, "dial") {
				t.Errorf("document %q shows an internal error", body)
			}
			if got := resp.Header.Get("Retry-After"); (got == "1") != (tt.status == 503) {
				t.Errorf("Retry-After %q", got)
			}
			if got := e.done(t); got.Reason != tt.reason {
				t.Errorf("reason %q, want %q", got.Reason, tt.reason)
			}
			if got := e.pools.Status()[0].InFlight; got != 0 {
				t.Errorf("%d in flight, want 0", got)
			}
		})
	}
}

func TestFailuresOfTheClientsBody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		text   string
		status string // "": none
		reason string
		logged int
	}{
		{"more than is allowed, by chunks", "Transfer-Encoding: chunked\n\n20\n" + strings.Repeat("a", 32) + "\n", "413", ReasonTooLarge, 413},
		{"malformed chunks", "Transfer-Encoding: chunked\n\n4\nbody\nzz\n", "400", ReasonBadBody, 400},
		{"no more for too long", "Content-Length: 10\n\nstart", "408", ReasonSlowBody, 408},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEdge(t, setup{
				app: one(backend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })),
				outer: func(w http.ResponseWriter, r *http.Request) {
					r.Body = http.MaxBytesReader(w, r.Body, 16)
					_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				},
			})
			_, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\n"+tt.text)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if !strings.HasPrefix(resp.Status, tt.status) || !resp.Close {
				t.Errorf("got %s, close %v; want %s and the connection closed", resp.Status, resp.Close, tt.status)
			}
			if got := e.done(t); got.Reason != tt.reason {
				t.Errorf("reason %q, want %q", got.Reason, tt.reason)
			}
		})
	}
}

func TestClientThatLeavesDuringItsUpload(t *testing.T) {
	started := make(chan struct{})
	e := newEdge(t, setup{app: one(backend(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		close(started)
		_, _ = io.Copy(io.Discard, r.Body)
	}))})
	conn, _ := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Length: 100\n\nstart")
	<-started
	conn.Close()
	if got := e.done(t); got.Status != exchange.StatusClientGone || got.Reason != ReasonClientGone {
		t.Errorf("facts %+v, want 499", got)
	}
}

// The transport notices the failure when the client goes on sending. The rest of the body must not be
// taken for other requests.
func TestUpstreamThatDiesDuringAnUpload(t *testing.T) {
	t.Parallel()
	e := newEdge(t, setup{app: one(rawBackend(t, func(net.Conn, *bufio.Reader) {}))})
	conn, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Length: 1000000\n\nstart")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 1000 {
			if _, err := fmt.Fprint(conn, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway || !resp.Close {
		t.Errorf("got %d, close %v; want 502 and the connection closed", resp.StatusCode, resp.Close)
	}
	e.done(t)
	conn.Close()
	<-ended
	if len(e.facts) > 0 {
		t.Error("a second request was served")
	}
}

func TestMalformedUpgradeIsTheClientsFault(t *testing.T) {
	e := newEdge(t, setup{app: one(nowhere(t))})
	_, r := e.rawClient(t, "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: \xff\n\n")
	if status, err := r.ReadString('\n'); err != nil || !strings.Contains(status, "400") {
		t.Errorf("status %q, %v; want 400", status, err)
	}
	if got := e.done(t); got.Reason != ReasonUpgrade {
		t.Errorf("reason %q", got.Reason)
	}
}

func TestOnlyFaultsOfTheUpstreamAreLogged(t *testing.T) {
	var out bytes.Buffer
	h := New(Config{
		Log: slog.New(slog.NewTextHandler(&out, nil)),
		Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.Context().Err() != nil {
				return nil, r.Context().Err()
			}
			return nil, &net.OpError{Op: "dial", Err: io.ErrClosedPipe}
		}),
	})
	ask := func(ctx context.Context) *httptest.ResponseRecorder {
		ex := &exchange.Exchange{Snapshot: snapshotOf(policy.Upstream{}), Route: &policy.Route{Upstream: "app"}, RequestID: "request-1"}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(exchange.With(ctx, ex), http.MethodGet, "/", nil))
		return rec
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if rec := ask(gone); rec.Body.Len() > 0 || out.Len() > 0 {
		t.Errorf("a client that left: wrote %q, logged %q; want neither", rec.Body, &out)
	}
	if rec := ask(t.Context()); rec.Code != http.StatusBadGateway {
		t.Errorf("status %d, want 502", rec.Code)
	}
	if got := out.String(); !strings.Contains(got, "closed pipe") || !strings.Contains(got, "request-1") {
		t.Errorf("log %q lacks the cause", got)
	}
}
