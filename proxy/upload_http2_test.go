package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// A client that disconnects after its whole body counts as gone: the transport closes the upstream's
// connection because of it, so the upstream did not fail.
func TestClientThatLeavesAfterItsUpload(t *testing.T) {
	wrong := 0
	for range 20 {
		started := make(chan struct{})
		e := newEdge(t, setup{app: one(backend(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			close(started)
			<-r.Context().Done()
		}))})
		conn, _ := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nwhole")
		<-started
		conn.Close()
		if got := e.done(t); got.Status != exchange.StatusClientGone || got.Reason != ReasonClientGone {
			wrong++
			t.Logf("facts %+v, want 499", got)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 20 clients that left were taken for a failed upstream", wrong)
	}
}

// http2Edge is an edge whose upstream speaks HTTP/2.
func http2Edge(t *testing.T, f http.HandlerFunc) (*edge, *httptest.Server) {
	t.Helper()
	s := httptest.NewUnstartedServer(f)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	e := newEdge(t, setup{app: one(s.URL), progress: patience})
	e.usual().TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	e.get(t)
	e.done(t)
	return e, s
}

// Several uploads share an HTTP/2 connection; when it ends, all of them fail.
func TestHTTP2UpstreamThatClosesDuringUploads(t *testing.T) {
	const uploads = 3
	started := make(chan struct{}, uploads)
	e, s := http2Edge(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			started <- struct{}{}
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
	var readers []*bufio.Reader
	for range uploads {
		_, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Length: 100000\n\nstart")
		readers = append(readers, r)
		<-started
	}
	s.CloseClientConnections()
	told := 0
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, r := range readers {
		all.Go(func() {
			began := time.Now()
			res, err := http.ReadResponse(r, nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && res.StatusCode == http.StatusBadGateway && time.Since(began) < patience/2 {
				told++
			} else {
				t.Logf("%v after %v", err, time.Since(began))
			}
		})
	}
	all.Wait()
	if told != uploads {
		t.Errorf("%d of %d clients were told at once", told, uploads)
	}
}

// An upstream that resets one HTTP/2 stream fails like one that closes the connection.
func TestHTTP2UpstreamThatResetsAnUpload(t *testing.T) {
	e, _ := http2Edge(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.ReadFull(r.Body, make([]byte, 5))
			panic(http.ErrAbortHandler)
		}
	})
	began := time.Now()
	_, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Length: 100000\n\nstart")
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusBadGateway || time.Since(began) > patience/2 {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// deadPeer is a connection that gets reset: first writes fail, then reads.
type deadPeer struct {
	net.Conn
	reset  atomic.Bool
	failed chan struct{}
	once   sync.Once
}

func (c *deadPeer) Write(p []byte) (int, error) {
	if c.reset.Load() {
		c.once.Do(func() { close(c.failed) })
		return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	return c.Conn.Write(p)
}

func (c *deadPeer) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		<-c.failed
		return n, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	}
	return n, nil
}

// If the first write of a request without a body fails, net/http retries it on another connection,
// whatever its method. An earlier upload on the connection makes no difference.
func TestStaleConnectionThatHasCarriedAnUpload(t *testing.T) {
	target := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Method)
	})
	for _, first := range []string{http.MethodGet, http.MethodPost} {
		t.Run("after "+first, func(t *testing.T) {
			e := newEdge(t, setup{app: one(target), progress: patience})
			peer := &deadPeer{failed: make(chan struct{})}
			var dials atomic.Int32
			e.usual().DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				if dials.Add(1) == 1 {
					peer.Conn, conn = conn, peer
				}
				return &movingConn{Conn: conn, progress: patience, start: time.Now()}, nil
			}
			var body io.Reader
			if first == http.MethodPost {
				body = strings.NewReader("upload")
			}
			e.do(t, request(t, first, e.URL, body))
			e.done(t)
			peer.reset.Store(true)
			go func() { // the reset is noticed after the write
				<-peer.failed
				peer.Conn.Close()
			}()
			if res, _ := e.do(t, request(t, http.MethodPost, e.URL, nil)); res.StatusCode != http.StatusOK || dials.Load() != 2 {
				t.Errorf("%s by %d connections", res.Status, dials.Load())
			}
			e.done(t)
		})
	}
}

// silent is a body whose read only ends by the read deadline.
type silent struct {
	http.ResponseWriter
	ended chan struct{}
	once  sync.Once
}

func (s *silent) SetReadDeadline(time.Time) error {
	s.once.Do(func() { close(s.ended) })
	return nil
}

func (s *silent) Read([]byte) (int, error) { <-s.ended; return 0, os.ErrDeadlineExceeded }
func (s *silent) Close() error             { return nil }

// HTTP/2 moves an upload to another connection if the first one is about to close. The end of the
// first one must not end the upload then.
func TestUploadOutlivesAConnectionThatItHasLeft(t *testing.T) {
	t.Parallel()
	client := &silent{ResponseWriter: httptest.NewRecorder(), ended: make(chan struct{})}
	u := &upload{body: client, client: client, in: &http.Request{}}
	here, there := net.Pipe()
	defer there.Close()
	first, second := &movingConn{Conn: here}, &movingConn{Conn: there}
	first.carry(u)
	second.carry(u)
	read := make(chan error, 1)
	go func() { _, err := u.Read(make([]byte, 1)); read <- err }()
	time.Sleep(10 * time.Millisecond)
	first.Close()
	select {
	case err := <-read:
		t.Errorf("the client was broken off: %v", err)
	case <-time.After(200 * time.Millisecond):
		client.SetReadDeadline(time.Now())
		<-read
	}
}

// An upstream that takes an upload and then stays silent is slow, not broken.
func TestSlowUpstreamAfterAnUpload(t *testing.T) {
	t.Parallel()
	app := one(backend(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	app.Timeout = policy.Duration(50 * time.Millisecond)
	e := newEdge(t, setup{app: app})
	for range 10 {
		if res, _ := e.do(t, request(t, http.MethodPost, e.URL, strings.NewReader("upload"))); res.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("%s", res.Status)
		}
		if f := e.done(t); f.Reason != ReasonTimeout {
			t.Errorf("reason %q", f.Reason)
		}
	}
}

// The upstream's connection ends while a response without a body is read.
func TestEarlyAnswersWithoutABody(t *testing.T) {
	t.Parallel()
	e := newEdge(t, setup{progress: patience, app: one(rawBackend(t, func(conn net.Conn, _ *bufio.Reader) {
		fmt.Fprint(conn, "HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	}))})
	wrong := map[string]int{}
	for range 500 {
		conn, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Length: 100000\n\nstart")
		res, err := http.ReadResponse(r, nil)
		switch {
		case err != nil:
			wrong[err.Error()]++
		case res.StatusCode != 401:
			wrong[res.Status]++
		}
		f := e.done(t)
		if f.Reason != "" {
			wrong[f.Reason]++
		}
		conn.Close()
	}
	if len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
}

// TLS upstream closes with close_notify while the client is silent.
func TestTLSUpstreamThatCloses(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return
		}
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		if r.URL.Path == "/refuse" {
			w.Header().Set("Connection", "close")
			w.WriteHeader(413)
			return
		}
		conn, _, _ := http.NewResponseController(w).Hijack()
		conn.(*tls.Conn).Close()
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	e := newEdge(t, setup{app: one(s.URL), progress: patience})
	e.usual().TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	for path, want := range map[string]int{"/": 502, "/refuse": 413} {
		for range 20 {
			began := time.Now()
			conn, r := e.rawClient(t, "POST "+path+" HTTP/1.1\nHost: a\nContent-Length: 100000\n\nstart"+strings.Repeat("y", 5000))
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != want || time.Since(began) > patience/2 {
				t.Errorf("%s: %v %v after %v", path, res, err, time.Since(began))
			}
			e.done(t)
			conn.Close()
		}
	}
}

// An HTTP/2 response that comes before the end of the upload reaches the client with its whole body,
// even if the client is silent.
func TestHTTP2EarlyAnswers(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("no ", 50_000)
	e, _ := http2Edge(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = io.WriteString(w, text)
		}
	})
	for range 50 {
		conn, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Length: 100000\n\nstart")
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusRequestEntityTooLarge || string(body) != text || err != nil {
			t.Errorf("%s, %d bytes, %v", res.Status, len(body), err)
		}
		if f := e.done(t); f.Reason != "" {
			t.Errorf("reason %q", f.Reason)
		}
		conn.Close()
	}
}
