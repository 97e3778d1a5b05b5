package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// pattern is n bytes whose values roughly tell their positions.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + i>>16)
	}
	return b
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// open sends a GET and returns when the response's head has come.
func (e *edge) open(ctx context.Context, path string, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+path, nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return e.client.Do(req)
}

// herd sends n requests and returns when all of them wait for one response. The function that it
// returns waits for their replies.
func (e *edge) herd(n int, path string, header func(client int) []string) (replies func() []reply) {
	e.Helper()
	got := make([]reply, n)
	var clients sync.WaitGroup
	for i := range n {
		clients.Go(func() { got[i] = e.get(path, header(i)...) })
	}
	env.Until(e, "the herd", func() bool { return e.cache.Waiting() == n })
	return func() []reply { clients.Wait(); return got }
}

func nothing(int) []string { return nil }

func large(t *testing.T) *edge {
	return newEdge(t, options{policy: strings.Replace(testPolicy, "100KiB", "1MiB", 1)})
}

func TestAHundredClientsShareOneFillWhileItStreams(t *testing.T) {
	const clients = 100
	body := pattern(232 << 10)
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %v", chunked), func(t *testing.T) {
			e := large(t)
			gate := newGate(t)
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
				if !chunked {
					w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				}
				_, _ = w.Write(body[:len(body)/2])
				flush(w)
				gate.wait()
				_, _ = w.Write(body[len(body)/2:])
			})
			var half, done sync.WaitGroup
			half.Add(clients)
			var collapsed, cookies atomic.Int64
			for range clients {
				done.Go(func() {
					got := make([]byte, len(body))
					resp, err := e.open(t.Context(), "/list")
					if err != nil {
						t.Error(err)
						half.Done()
						return
					}
					defer func() { _ = resp.Body.Close() }()
					_, err = io.ReadFull(resp.Body, got[:len(body)/2])
					half.Done()
					rest, end := io.ReadAll(resp.Body)
					copy(got[len(body)/2:], rest)
					if err != nil || end != nil || len(rest) != len(body)/2 || !bytes.Equal(got, body) {
						t.Errorf("a client got another body: %v, %v, %d bytes in the second half", err, end, len(rest))
					}
					if strings.Contains(resp.Header.Get("Cache-Status"), "collapsed") {
						collapsed.Add(1)
					}
					cookies.Add(int64(len(resp.Header["Set-Cookie"])))
				})
			}
			half.Wait() // all have the first half; the second was not sent
			<-gate.arrived
			if n := e.asked.Load(); n != 1 {
				t.Errorf("the upstream was asked %d times", n)
			}
			gate.release()
			done.Wait()
			if collapsed.Load() != clients-1 || cookies.Load() != 0 {
				t.Errorf("%d collapsed, %d cookies; want all but the first, and none", collapsed.Load(), cookies.Load())
			}
			if got := e.get("/list"); got.body != string(body) || !strings.HasPrefix(got.cacheStatus(), "edge; hit") || e.asked.Load() != 1 {
				t.Errorf("then %q; the upstream was asked %d times", got.cacheStatus(), e.asked.Load())
			}
			if n := e.cache.Recording(); n != 0 {
				t.Errorf("%d bytes are still counted", n)
			}
		})
	}
}

// The upstream answers each request with the requester's own body and cookie.
func TestNobodyGetsWhatIsAnothers(t *testing.T) {
	const clients = 100
	for says, tt := range map[string]struct {
		path, control string
		cookie        bool
	}{
		"a login":                    {"/strict/login", "no-store", true},
		"a silent refresh on a list": {"/list", "", true},
		"a private response":         {"/list", "private, max-age=60", false},
		"a private one, standard":    {"/strict/me", "private, max-age=60", false},
		"a cookie, standard":         {"/strict/me", "max-age=60", true},
	} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			gate := newGate(t)
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				if e.asked.Load() == 1 {
					gate.wait()
				}
				if tt.control != "" {
					w.Header().Set("Cache-Control", tt.control)
				}
				if tt.cookie {
					w.Header().Set("Set-Cookie", "session="+r.Header.Get("X-Client"))
				}
				_, _ = io.WriteString(w, r.Header.Get("X-Client"))
			})
			replies := e.herd(clients, tt.path, func(i int) []string { return []string{"X-Client", strconv.Itoa(i)} })
			gate.release()
			for i, got := range replies() {
				own := strconv.Itoa(i)
				if got.body != own || tt.cookie && got.header.Get("Set-Cookie") != "session="+own || len(got.header["Set-Cookie"]) > 1 {
					t.Errorf("client %d got the body of %q and the cookie %q", i, got.body, got.header["Set-Cookie"])
				}
			}
			if n := e.asked.Load(); n != clients {
				t.Errorf("the upstream was asked %d times by %d clients", n, clients)
			}
		})
	}
}

// Cookies in a 304 are for the client that validated; the response is shared.
func TestACookieInA304IsItsClientsAlone(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10"))
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		gate.wait()
		validating(`"v1"`, "Cache-Control", "max-age=10", "Set-Cookie", "session=one")(w, r)
	})
	replies := e.herd(20, "/strict/a", nothing)
	gate.release()
	cookies := 0
	for _, got := range replies() {
		cookies += len(got.header["Set-Cookie"])
		if got.body != `body of "v1"` {
			t.Errorf("%d %q", got.status, got.body)
		}
	}
	if n := e.asked.Load(); cookies != 1 || n != 2 {
		t.Errorf("%d clients got the cookie, the upstream was asked %d times; want 1, and the fill and one validation", cookies, n)
	}
}

func TestAFillOutlivesItsFirstClient(t *testing.T) {
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first half, ")
		flush(w)
		gate.wait()
		_, _ = io.WriteString(w, "second half")
	})
	first, leave := context.WithCancel(t.Context())
	resp, err := e.open(first, "/list")
	if err != nil {
		t.Fatal(err)
	}
	<-gate.arrived
	replies := e.herdMore(5, 1, "/list")
	leave()
	_ = resp.Body.Close()
	env.Until(e, "the first client's end", func() bool { return e.cache.Waiting() == 5 })
	gate.release()
	for _, got := range replies() {
		e.expect("a client that still waits", got, "first half, second half", "edge; fwd=uri-miss; collapsed")
	}
	e.expect("it is stored", e.get("/list"), "first half, second half", "edge; hit")
}

// herdMore is herd for a cache where others wait already.
func (e *edge) herdMore(n, others int, path string, header ...string) (replies func() []reply) {
	e.Helper()
	got := make([]reply, n)
	var clients sync.WaitGroup
	for i := range n {
		clients.Go(func() { got[i] = e.get(path, header...) })
	}
	env.Until(e, "the herd", func() bool { return e.cache.Waiting() == n+others })
	return func() []reply { clients.Wait(); return got }
}

func TestAFillEndsWithItsLastClient(t *testing.T) {
	for _, head := range []bool{false, true} {
		t.Run(fmt.Sprintf("after the head %v", head), func(t *testing.T) {
			e := newEdge(t, options{})
			arrived, ended := make(chan struct{}, 1), make(chan struct{}, 1)
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				arrived <- struct{}{}
				if head {
					_, _ = io.WriteString(w, "half")
					flush(w)
				}
				<-r.Context().Done()
				ended <- struct{}{}
			})
			ctx, leave := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			for range 3 {
				clients.Go(func() {
					if resp, err := e.open(ctx, "/list"); err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				})
			}
			env.Until(e, "the clients", func() bool { return e.cache.Waiting() == 3 })
			<-arrived
			leave()
			clients.Wait()
			<-ended
			e.upstreamSays(says("whole"))
			e.expect("the next request", e.get("/list"), "whole", "edge; fwd=uri-miss; fwd-status=200; stored")
		})
	}
}

func TestABrokenBodyIsBrokenForAllAndNotStored(t *testing.T) {
	for says, head := range map[string]string{
		"shorter than Content-Length": "Content-Length: 100\r\n\r\nhalf",
		"without the last chunk":      "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			gate := newGate(t)
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+head)
				gate.wait()
				_ = conn.Close()
			})
			replies := e.herd(10, "/list", nothing)
			<-gate.arrived
			gate.release()
			for _, got := range replies() {
				if got.err == nil {
					t.Errorf("%q looks complete: Cache-Status %q", got.body, got.cacheStatus())
				}
			}
			e.upstreamSays(validating(`"whole"`))
			e.expect("the next request", e.get("/list"), `body of "whole"`, "edge; fwd=uri-miss; fwd-status=200; stored")
		})
	}
}

// The first request fails, because of its own field or like all others. One of the waiting requests
// asks again, for all of them.
func TestAFailureBeforeTheHeadIsTriedOnceMore(t *testing.T) {
	const clients = 10
	for says, tt := range map[string]struct {
		all  bool
		want int // clients that get an answer
	}{
		"the leader's own failure": {want: clients - 1},
		"everybody's failure":      {all: true},
	} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			gate := newGate(t)
			var fell atomic.Int64
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				gate.wait()
				if tt.all || r.Header.Get("X-Poison") != "" {
					fell.Add(1)
					hijack("")(w, r)
					return
				}
				_, _ = io.WriteString(w, "body")
			})
			first := e.herd(1, "/list", func(int) []string { return []string{"X-Poison", "1"} })
			<-gate.arrived
			var others sync.WaitGroup
			var answered atomic.Int64
			for range clients - 1 {
				others.Go(func() {
					if got := e.get("/list"); got.status == http.StatusOK && got.body == "body" {
						answered.Add(1)
					} else if got.status != http.StatusBadGateway {
						t.Errorf("%d %q", got.status, got.body)
					}
				})
			}
			env.Until(e, "the others", func() bool { return e.cache.Waiting() == clients })
			gate.release()
			if got := first()[0]; got.status != http.StatusBadGateway {
				t.Errorf("the leader: %d", got.status)
			}
			others.Wait()
			if int(answered.Load()) != tt.want {
				t.Errorf("%d of %d waiting clients got a response, want %d", answered.Load(), clients-1, tt.want)
			}
			if n := e.asked.Load(); n > 4 { // a transport may try each a second time
				t.Errorf("the upstream was asked %d times", n)
			}
		})
	}
}

// Conditions concern the client's copy. They are evaluated against the shared response.
func TestConditionalRequestsShareAFill(t *testing.T) {
	const clients = 12
	for says, stale := range map[string]bool{"cold": false, "stale": true} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			gate := newGate(t)
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				if e.asked.Load() == 1 && stale {
					says200(w)
					return
				}
				gate.wait()
				if r.Header.Get("If-None-Match") == `"v1"` {
					w.Header().Set("Cache-Control", "max-age=60")
					w.WriteHeader(http.StatusNotModified)
					return
				}
				says200(w)
			})
			before := int64(0)
			if stale {
				e.get("/strict/a")
				e.clock.Advance(90 * time.Second)
				before = 1
			}
			replies := e.herd(clients, "/strict/a", func(client int) []string {
				if client%3 == 0 {
					return nil
				}
				return []string{"If-None-Match", `"v1"`}
			})
			gate.release()
			for client, got := range replies() {
				if want := 304; client%3 != 0 && (got.status != want || got.body != "" || got.header.Get("ETag") != `"v1"`) {
					t.Errorf("client %d: %d %q %v", client, got.status, got.body, got.header)
				}
				if client%3 == 0 && (got.status != 200 || got.body != "body") {
					t.Errorf("client %d: %d %q", client, got.status, got.body)
				}
			}
			if n := e.asked.Load() - before; n != 1 {
				t.Errorf("the upstream was asked %d times", n)
			}
			e.expect("then", e.get("/strict/a"), "body", "edge; hit")
		})
	}
}

func says200(w http.ResponseWriter) {
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Cache-Control", "max-age=60")
	_, _ = io.WriteString(w, "body")
}

// Nobody reads the body if a condition holds; it is stored all the same.
func TestAConditionalMissFills(t *testing.T) {
	body := string(pattern(90 << 10))
	for _, condition := range [][]string{{"If-None-Match", `"v1"`}, {"If-Modified-Since", "Mon, 02 Nov 2026 00:00:00 GMT"}} {
		e := newEdge(t, options{})
		e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(condition[0]) != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, body)
		})
		got := e.get("/list", condition...)
		if got.status != 304 || got.header.Get("Content-Type") != "" || got.header.Get("ETag") != `"v1"` {
			t.Errorf("%s: %d %v", condition[0], got.status, got.header)
		}
		e.cache.Settle()
		e.expect("then", e.get("/list"), body, "edge; hit")
		if e.asked.Load() != 1 {
			t.Errorf("%s: asked %d times", condition[0], e.asked.Load())
		}
	}
}

// A response that cannot be stored is requested with the client's own conditions, to save the body.
func TestAConditionGoesUpWhereNothingCouldBeStored(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private")
		w.Header().Set("ETag", `"mine"`)
		if r.Header.Get("If-None-Match") == `"mine"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, "mine")
	})
	e.expect("first", e.get("/list"), "mine", "edge; fwd=uri-miss; fwd-status=200")
	if got := e.get("/list", "If-None-Match", `"mine"`); got.status != 304 || !strings.Contains(got.cacheStatus(), "fwd-status=304") {
		t.Errorf("then: %d, %q", got.status, got.cacheStatus())
	}
}

func TestAClientThatReadsNothingSlowsNobody(t *testing.T) {
	body := pattern(900 << 10)
	e := large(t)
	gate := newGate(t)
	e.upstreamSays(afterwards(gate, body))
	slow, err := e.open(t.Context(), "/list")
	if err != nil {
		t.Fatal(err)
	}
	replies := e.herdMore(5, 1, "/list")
	gate.release()
	for _, got := range replies() { // while the slow one has not read a byte
		if got.body != string(body) {
			t.Errorf("%d bytes, %v", len(got.body), got.err)
		}
	}
	got, err := io.ReadAll(slow.Body)
	_ = slow.Body.Close()
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("the slow client got %d bytes, %v", len(got), err)
	}
}

func TestABodyThatIsTooLargeByItsLengthIsNotShared(t *testing.T) {
	body := pattern(100<<10 + 1)
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		if e.asked.Load() == 1 {
			gate.wait()
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
	replies := e.herd(5, "/list", nothing)
	gate.release()
	for _, got := range replies() {
		if got.body != string(body) || strings.Contains(got.cacheStatus(), "collapsed") {
			t.Errorf("%d bytes, %v, Cache-Status %q", len(got.body), got.err, got.cacheStatus())
		}
	}
	if n := e.asked.Load(); n != 5 {
		t.Errorf("the upstream was asked %d times, want each on its own", n)
	}
}

// afterwards sends the beginning of a body at once, and the rest after the gate opens.
func afterwards(gate *gate, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body[:1000])
		flush(w)
		gate.wait()
		_, _ = w.Write(body[1000:])
	}
}

// A body that outgrows max_object continues in a window that moves with the fastest client. A
// client that does not read is aborted.
func TestABodyThatGrowsTooLargeGoesOnInAWindow(t *testing.T) {
	body := pattern(8 << 20)
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(afterwards(gate, body))
	stands := newGate(t)
	inner := e.server.Config.Handler
	standing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(&stalled{w, stands}, r)
	}))
	t.Cleanup(standing.Close)
	slow, err := e.client.Get(standing.URL + "/list")
	if err != nil {
		t.Fatal(err)
	}
	<-stands.arrived
	fast, err := e.open(t.Context(), "/list")
	if err != nil {
		t.Fatal(err)
	}
	env.Until(e, "the second", func() bool { return e.cache.Waiting() == 2 })
	gate.release()
	got, err := io.ReadAll(fast.Body)
	_ = fast.Body.Close()
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("the fast client got %d bytes, %v", len(got), err)
	}
	stands.release()
	got, err = io.ReadAll(slow.Body)
	_ = slow.Body.Close()
	if err == nil || !bytes.HasPrefix(body, got) {
		t.Errorf("the slow client got %d bytes, correct so far %v, and %v; want a part and an error", len(got), bytes.HasPrefix(body, got), err)
	}
	e.exchange()
	if n := e.cache.Recording(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
	e.upstreamSays(says("small"))
	e.expect("nothing is stored", e.get("/list"), "small", "edge; fwd=uri-miss")
}

// stalled is a client that reads the head, and the body only after the gate opens.
type stalled struct {
	http.ResponseWriter
	gate *gate
}

func (s *stalled) Write(b []byte) (int, error) {
	flush(s.ResponseWriter)
	s.gate.wait()
	return s.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (s *stalled) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func TestWhatWasNotForAllIsRememberedForAWhile(t *testing.T) {
	e := newEdge(t, options{})
	var gate atomic.Pointer[gate]
	gate.Store(newGate(t))
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		gate.Load().wait()
		w.Header().Set("Cache-Control", "private")
		_, _ = io.WriteString(w, "mine")
	})
	replies := e.herd(5, "/list", nothing)
	gate.Load().release()
	replies()
	gate.Store(newGate(t))
	before := e.asked.Load()
	var clients sync.WaitGroup
	for range 5 {
		clients.Go(func() { e.get("/list") })
	}
	for range 5 {
		<-gate.Load().arrived // all at once: none waits for another
	}
	gate.Load().release()
	clients.Wait()
	if n := e.asked.Load() - before; n != 5 {
		t.Errorf("the upstream was asked %d times by 5 clients", n)
	}
	e.clock.Advance(11 * time.Second)
	gate.Store(newGate(t))
	before = e.asked.Load()
	replies = e.herd(5, "/list", nothing)
	if n := e.asked.Load() - before; n > 1 {
		t.Errorf("later it is tried again: asked %d times", n)
	}
	gate.Load().release()
	replies()
}

func TestAHandlerThatPanicsHoldsNothing(t *testing.T) {
	body := pattern(64 << 10)
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(afterwards(gate, body))
	inner := e.server.Config.Handler
	breaking := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(&panicking{w}, r)
	}))
	breaking.Config.ErrorLog = log.New(io.Discard, "", 0)
	breaking.Start()
	t.Cleanup(breaking.Close)
	sound, err := e.open(t.Context(), "/list")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if resp, err := e.client.Get(breaking.URL + "/list"); err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err == nil {
				t.Error("a response whose handler panicked looks complete")
			}
		}
	}
	env.Until(e, "their end", func() bool { return e.cache.Waiting() == 1 })
	gate.release()
	got, err := io.ReadAll(sound.Body)
	_ = sound.Body.Close()
	if err != nil || !bytes.Equal(got, body) || e.asked.Load() != 1 {
		t.Errorf("the others got %d bytes, %v; the upstream was asked %d times", len(got), err, e.asked.Load())
	}
}

// panicking is a layer that panics.
type panicking struct{ http.ResponseWriter }

func (p *panicking) Write([]byte) (int, error) { panic("a mistake") }

// Unwrap serves http.ResponseController.
func (p *panicking) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func TestWhoMayWait(t *testing.T) {
	for says, tt := range map[string]struct {
		header []string
		alone  bool
		status int
	}{
		"nothing asked":               {status: 200},
		"a condition that holds":      {header: []string{"If-None-Match", `"v1"`}, status: 304},
		"a condition that does not":   {header: []string{"If-None-Match", `"v0"`}, status: 200},
		"fresh enough":                {header: []string{"Cache-Control", "max-age=5"}, status: 200},
		"fresh for long enough":       {header: []string{"Cache-Control", "min-fresh=50"}, status: 200},
		"no-cache":                    {header: []string{"Cache-Control", "no-cache"}, alone: true, status: 200},
		"Pragma":                      {header: []string{"Pragma", "no-cache"}, alone: true, status: 200},
		"no-store":                    {header: []string{"Cache-Control", "no-store"}, alone: true, status: 200},
		"max-age=0":                   {header: []string{"Cache-Control", "max-age=0"}, alone: true, status: 200},
		"fresh for longer than it is": {header: []string{"Cache-Control", "min-fresh=70"}, alone: true, status: 200},
		"a range":                     {header: []string{"Range", "bytes=0-1"}, alone: true, status: 200},
		"Authorization":               {header: []string{"Authorization", "Bearer x"}, alone: true, status: 200},
	} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			gate := newGate(t)
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
				if e.asked.Load() == 1 {
					gate.wait()
				}
				w.Header().Set("ETag", `"v1"`)
				w.Header().Set("Cache-Control", "max-age=60")
				_, _ = io.WriteString(w, "body")
			})
			replies := e.herd(1, "/strict/a", nothing)
			<-gate.arrived
			got := make(chan reply, 1)
			go func() { got <- e.get("/strict/a", tt.header...) }()
			env.Until(e, "the second", func() bool { return e.cache.Waiting() == 2 || e.asked.Load() == 2 })
			gate.release()
			r := <-got
			if r.status != tt.status || strings.Contains(r.cacheStatus(), "collapsed") == tt.alone {
				t.Errorf("%d %q, Cache-Status %q", r.status, r.body, r.cacheStatus())
			}
			replies()
		})
	}
}

func TestWhoAsksAfterAPurgeDoesNotWaitForWhatWasAskedBefore(t *testing.T) {
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) { gate.wait(); _, _ = io.WriteString(w, "old") })
	replies := e.herd(3, "/list", nothing)
	<-gate.arrived
	if err := e.tags.Purge(t.Context(), "restaurants"); err != nil {
		t.Fatal(err)
	}
	e.upstreamSays(says("new"))
	e.expect("after the purge", e.get("/list"), "new", "edge; fwd=uri-miss; fwd-status=200; stored")
	gate.release()
	replies()
	e.expect("then", e.get("/list"), "new", "edge; hit")
}

func TestVariantsWaitForTheirOwn(t *testing.T) {
	e := newEdge(t, options{})
	var gates atomic.Pointer[gate]
	gates.Store(newGate(t))
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		gates.Load().wait()
		w.Header().Set("Vary", "X-Lang")
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, r.Header.Get("X-Lang"))
	})
	lang := func(i int) string { return []string{"de", "en"}[i%2] }
	check := func(replies []reply, asked int64) {
		t.Helper()
		for i, got := range replies {
			if got.body != lang(i) {
				t.Errorf("%q got %q", lang(i), got.body)
			}
		}
		if n := e.asked.Swap(0); n != asked {
			t.Errorf("the upstream was asked %d times, want %d", n, asked)
		}
	}
	replies := e.herd(10, "/strict/v", func(i int) []string { return []string{"X-Lang", lang(i)} })
	gates.Load().release() // one of the languages learns that it has waited for the other
	check(replies(), 2)
	if err := e.tags.Purge(t.Context(), "uri:api.test/strict/v"); err != nil {
		t.Fatal(err)
	}
	gates.Store(newGate(t))
	replies = e.herd(10, "/strict/v", func(i int) []string { return []string{"X-Lang", lang(i)} })
	<-gates.Load().arrived
	<-gates.Load().arrived // both are asked for before either is there
	gates.Load().release()
	check(replies(), 2)
}

func TestHeadersOfOneClientAreNotShared(t *testing.T) {
	e := newEdge(t, options{policy: strings.Replace(testPolicy, "max_object: 100KiB", "store_set_cookie: true", 1)})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		if e.asked.Load() == 1 {
			gate.wait()
		}
		w.Header().Set("Set-Cookie", "a="+r.Header.Get("X-Client"))
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "body")
	})
	replies := e.herd(10, "/strict/a", func(i int) []string { return []string{"X-Client", strconv.Itoa(i)} })
	gate.release()
	var cookies []string
	for _, got := range replies() {
		if strings.Contains(got.cacheStatus(), "collapsed") {
			cookies = append(cookies, got.header["Set-Cookie"]...)
		}
	}
	if len(cookies) > 0 {
		t.Errorf("clients that waited got the cookies %q", slices.Compact(cookies))
	}
}
