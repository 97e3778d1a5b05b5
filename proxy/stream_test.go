package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

func TestResponseStreams(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
	}{
		{"of unknown length", http.Header{}},
		{"of events", http.Header{"Content-Type": {"text/event-stream"}}},
		{"of events with a length", http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}, "Content-Length": {"10"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			second := make(chan struct{})
			e := newEdge(t, setup{app: one(backend(t, func(w http.ResponseWriter, r *http.Request) {
				maps.Copy(w.Header(), tt.header)
				fmt.Fprint(w, "first")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-second:
				case <-r.Context().Done():
				}
				fmt.Fprint(w, "later")
			}))})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			resp, err := e.Client().Do(request(t, http.MethodGet, e.URL, nil).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got := make([]byte, 5)
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "first" {
				t.Fatalf("read %q, %v before the second chunk was sent", got, err)
			}
			close(second)
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "later" {
				t.Fatalf("then %q, %v", rest, err)
			}
		})
	}
}

func TestUploadStreams(t *testing.T) {
	arrived := make(chan string)
	e := newEdge(t, setup{app: one(backend(t, func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 5); ; {
			if _, err := io.ReadFull(r.Body, chunk); err != nil {
				return
			}
			arrived <- string(chunk)
		}
	}))})
	body, send := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		resp, err := e.Client().Do(request(t, http.MethodPost, e.URL, body))
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	for _, chunk := range []string{"first", "later"} {
		fmt.Fprint(send, chunk)
		if got := env.Receive(t, "it arrives before more is sent", arrived); got != chunk {
			t.Fatalf("upstream read %q, want %q", got, chunk)
		}
	}
	send.Close()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

// A conversation: each part of the request is answered before the next is sent.
func TestBothBodiesStreamAtOnce(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
		for chunk := make([]byte, 5); ; {
			if _, err := io.ReadFull(r.Body, chunk); err != nil {
				return
			}
			_, _ = w.Write(chunk)
			_ = rc.Flush()
		}
	}
	servers := map[string]func(*httptest.Server){
		"HTTP/1.1": nil,
		"HTTP/2":   func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
	}
	for name, serve := range servers {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, setup{app: one(backend(t, echo)), serve: serve})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			body, send := io.Pipe()
			resp, err := e.Client().Do(request(t, http.MethodPost, e.URL, body).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			for i := range 20 {
				want := fmt.Sprintf("%05d", i)
				fmt.Fprint(send, want)
				got := make([]byte, 5)
				if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
					t.Fatalf("echo %q, %v; want %q", got, err, want)
				}
			}
			send.Close()
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
				t.Fatalf("at the end %q, %v", rest, err)
			}
		})
	}
}

// Bytes of the body that the client sends later must not be taken for its next request.
func TestAnswerBeforeTheBodyIsSent(t *testing.T) {
	e := newEdge(t, setup{app: one(rawBackend(t, func(conn net.Conn, _ *bufio.Reader) {
		fmt.Fprint(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
		time.Sleep(50 * time.Millisecond) // so that the answer is not lost in a reset
	}))})
	_, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Length: 100000\n\nstart")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || string(body) != "no" || err != nil {
		t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
	}
	if !resp.Close {
		t.Error("the connection is kept, though the rest of the body is still to come")
	}
	if got := e.done(t); got.Reason != "" {
		t.Errorf("reason %q for an ordinary answer", got.Reason)
	}
}

func TestConnectionIsKeptAfterAWholeUpload(t *testing.T) {
	e := newEdge(t, setup{app: one(backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))})
	for _, framing := range []string{"Content-Length: 4\n\nbody", "Transfer-Encoding: chunked\n\n4\nbody\n0\n\n"} {
		conn, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\n"+framing)
		for range 3 {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.Close || string(body) != "body" {
				t.Errorf("body %q, close %v; want the connection kept", body, resp.Close)
			}
			fmt.Fprint(conn, strings.ReplaceAll("POST / HTTP/1.1\nHost: a\n"+framing, "\n", "\r\n"))
		}
	}
}

// The transport reads once more after the declared length. The server may have answered and closed
// the body by then; that is not a failure.
func TestBodyIsNotReadPastItsEnd(t *testing.T) {
	e := newEdge(t, setup{
		outer: func(_ http.ResponseWriter, r *http.Request) { r.Body = &closedAtItsEnd{ReadCloser: r.Body} },
		app: one(backend(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond) // until the transport drops the connection
			fmt.Fprint(w, "answer")
		})),
	})
	if _, body := e.do(t, request(t, http.MethodPost, e.URL, strings.NewReader("body"))); body != "answer" {
		t.Errorf("body %q, want all of it", body)
	}
}

// closedAtItsEnd is a request's body after the server has answered.
type closedAtItsEnd struct {
	io.ReadCloser
	end bool
}

func (b *closedAtItsEnd) Read(p []byte) (int, error) {
	if b.end {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	b.end = errors.Is(err, io.EOF)
	return n, err
}

func TestTrailersPassBothWays(t *testing.T) {
	seen := make(chan http.Header, 1)
	named := func(ex *exchange.Exchange) { ex.Snapshot.Policy.Session.Identity.Header = "X-Caller" }
	e := newEdge(t, setup{exchange: named, app: one(backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.Trailer
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", "out")
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	}))})
	req := request(t, http.MethodPost, e.URL, struct{ io.Reader }{strings.NewReader("body")})
	req.Trailer = http.Header{"X-Sum": {"in"}, "X_gw_identity": {"admin"}, "X-Gw-Identity": {"admin"}, "X-Caller": {"admin"}}
	resp, _ := e.do(t, req)
	got := <-seen
	if got.Get("X-Sum") != "in" || len(got) != 1 {
		t.Errorf("upstream saw trailers %v, want X-Sum alone", got)
	}
	if resp.Trailer.Get("X-Sum") != "out" || resp.Trailer.Get("X-Late") != "unannounced" {
		t.Errorf("client saw trailers %v", resp.Trailer)
	}
}

func TestInformationalResponses(t *testing.T) {
	target := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
		}
		_, _ = io.Copy(io.Discard, r.Body) // sends 100 Continue
		fmt.Fprint(w, "final")
	})
	e := newEdge(t, setup{app: one(target), outer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Outer", "kept") }})
	for _, tt := range []struct {
		name string
		req  *http.Request
		want map[int]http.Header
	}{
		{"early hints", request(t, http.MethodGet, e.URL, nil), map[int]http.Header{103: {"Link": {"</a.css>; rel=preload"}}}},
		{"100 Continue", request(t, http.MethodPost, e.URL, strings.NewReader("body")), map[int]http.Header{100: {}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(map[int]http.Header)
			req := tt.req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error { got[code] = http.Header(h); return nil },
			}))
			if req.Method == http.MethodPost {
				req.Header.Set("Expect", "100-continue")
			}
			resp, body := e.do(t, req)
			if resp.Header.Get("X-Outer") != "kept" || body != "final" {
				t.Errorf("final response %v %q, want what outer layers set", resp.Header, body)
			}
			if resp.Header.Get("Link") != "" {
				t.Error("a hint is in the final response")
			}
			for code, want := range tt.want {
				if h, ok := got[code]; !ok || h.Get("X-Outer") != "" || h.Get("Link") != want.Get("Link") {
					t.Errorf("informational responses %v, want %d %v", got, code, want)
				}
			}
		})
	}
}

func TestHTTP10ClientGetsNoHints(t *testing.T) {
	e := newEdge(t, setup{app: one(backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "final")
	}))})
	_, r := e.rawClient(t, "GET / HTTP/1.0\n\n")
	if status, err := r.ReadString('\n'); err != nil || !strings.Contains(status, "200") {
		t.Errorf("first line %q, %v; want the final response", status, err)
	}
}

func TestWebSocket(t *testing.T) {
	s := httptest.NewServer(websocket.Handler(func(ws *websocket.Conn) { _, _ = io.Copy(ws, ws) }))
	t.Cleanup(s.Close)
	dial := func(e *edge) (*websocket.Conn, error) {
		return websocket.Dial("ws"+strings.TrimPrefix(e.URL, "http"), "", e.URL)
	}
	t.Run("echoes where the route allows it", func(t *testing.T) {
		e := newEdge(t, setup{app: one(s.URL), route: policy.Route{WebSocket: true}, progress: patience})
		ws, err := dial(e)
		if err != nil {
			t.Fatal(err)
		}
		_ = ws.SetDeadline(time.Now().Add(patience))
		for _, want := range []string{"first", "later"} {
			var got string
			if err := websocket.Message.Send(ws, want); err != nil {
				t.Fatal(err)
			}
			if err := websocket.Message.Receive(ws, &got); err != nil || got != want {
				t.Fatalf("echo %q, %v; want %q", got, err, want)
			}
		}
		if got := e.pools.Status()[0].InFlight; got != 1 {
			t.Errorf("%d in flight while the socket is open, want 1", got)
		}
		ws.Close()
		e.done(t)
		env.Until(t, "nothing in flight", func() bool { return e.pools.Status()[0].InFlight == 0 })
	})
	t.Run("is refused elsewhere", func(t *testing.T) {
		e := newEdge(t, setup{app: one(s.URL)})
		if ws, err := dial(e); err == nil {
			ws.Close()
			t.Fatal("switched protocols")
		}
	})
	t.Run("takes no request with a body", func(t *testing.T) {
		e := newEdge(t, setup{app: one(s.URL), route: policy.Route{WebSocket: true}})
		_, r := e.rawClient(t, "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\nContent-Length: 4\n"+
			"Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: http://a\n\nbody")
		if status, err := r.ReadString('\n'); err != nil || strings.Contains(status, "101") {
			t.Errorf("status %q, %v; want no switch", status, err)
		}
	})
}

func TestClientThatLeavesCancelsTheUpstream(t *testing.T) {
	asked, canceled := make(chan struct{}), make(chan struct{})
	e := newEdge(t, setup{app: one(backend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(canceled)
	}))})
	conn, _ := e.rawClient(t, "GET / HTTP/1.1\nHost: a\n\n")
	<-asked
	conn.Close()
	env.Receive(t, "the upstream ends", canceled)
	if got := e.done(t); got.Status != exchange.StatusClientGone || got.Reason != ReasonClientGone {
		t.Errorf("facts %+v, want 499", got)
	}
}

// A client that has only closed its sending side still reads: it must not get an empty 200.
func TestHalfClosedClientGetsNoEmptyAnswer(t *testing.T) {
	asked := make(chan struct{})
	e := newEdge(t, setup{app: one(backend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))})
	conn, r := e.rawClient(t, "GET / HTTP/1.1\nHost: a\n\n")
	<-asked
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v; want the connection closed", got, err)
	}
}

func TestTruncatedBodyDoesNotLookWhole(t *testing.T) {
	for _, framing := range []string{"Content-Length: 10000\r\n\r\n" + strings.Repeat("a", 9000), "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"} {
		e := newEdge(t, setup{app: one(rawBackend(t, func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n"+framing)
		}))})
		_, r := e.rawClient(t, "GET / HTTP/1.1\nHost: a\n\n")
		all, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), nil); err == nil {
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%q reads as a whole body %q", all, body)
			}
			resp.Body.Close()
		}
		if got := e.done(t); got.Reason != ReasonBrokeOff {
			t.Errorf("reason %q, want %q", got.Reason, ReasonBrokeOff)
		}
		if got := e.pools.Status()[0].InFlight; got != 0 {
			t.Errorf("%d in flight, want 0", got)
		}
	}
}

func TestClientThatLeavesDuringTheBody(t *testing.T) {
	e := newEdge(t, setup{app: one(backend(t, func(w http.ResponseWriter, r *http.Request) {
		for block := make([]byte, 64<<10); r.Context().Err() == nil; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))})
	conn, r := e.rawClient(t, "GET / HTTP/1.1\nHost: a\n\n")
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := e.done(t); got.Reason != ReasonClientGone {
		t.Errorf("reason %q, want %q", got.Reason, ReasonClientGone)
	}
}

func TestUpstreamThatStallsIsCutOff(t *testing.T) {
	t.Parallel()
	t.Run("in its body", func(t *testing.T) {
		e := newEdge(t, setup{progress: 100 * time.Millisecond, app: one(backend(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "start")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))})
		resp, err := e.Client().Do(request(t, http.MethodGet, e.URL, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err == nil || string(got) != "start" {
			t.Errorf("read %q, %v; want an error after the start", got, err)
		}
		if got := e.done(t); got.Reason != ReasonBrokeOff {
			t.Errorf("reason %q, want %q", got.Reason, ReasonBrokeOff)
		}
	})
	t.Run("not reading an upload", func(t *testing.T) {
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		e := newEdge(t, setup{progress: 200 * time.Millisecond, app: one(rawBackend(t, func(net.Conn, *bufio.Reader) { <-release }))})
		resp, _ := e.do(t, request(t, http.MethodPost, e.URL, io.LimitReader(zeros{}, 256<<20)))
		if resp.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("status %d, want 504", resp.StatusCode)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A stream lives as long as it makes progress.
func TestStreamOutlivesItsTimeouts(t *testing.T) {
	t.Parallel()
	app := one(backend(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			fmt.Fprint(w, ".")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	}))
	app.Timeout = policy.Duration(800 * time.Millisecond)
	e := newEdge(t, setup{app: app, progress: 800 * time.Millisecond})
	if _, body := e.get(t); body != ".........." {
		t.Errorf("body %q, want all of it", body)
	}
}
