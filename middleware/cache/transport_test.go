package cache_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// validating answers 304 to clients that have the tag.
func validating(tag string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, "body of "+tag)
	}
}

func TestValidation(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10", "X-Round", "1"))
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=100", "X-Round", "2", "Set-Cookie", "a=b"))
	got := e.get("/strict/a")
	e.expect("a stale entry is validated", got, `body of "v1"`, "edge; fwd=stale; fwd-status=304; stored")
	if got.header.Get("X-Round") != "2" || got.header.Get("Set-Cookie") != "a=b" || got.status != 200 {
		t.Errorf("%d %v; want the 304's headers and its cookie", got.status, got.header)
	}
	if facts := e.exchange().Facts; facts.Cache != "revalidated" {
		t.Errorf("Facts.Cache = %q", facts.Cache)
	}
	e.clock.Advance(50 * time.Second)
	got = e.get("/strict/a")
	e.expect("the validated entry is fresh for as long as the 304 says", got, `body of "v1"`, "edge; hit; ttl=50")
	if got.header.Get("X-Round") != "2" || got.header.Get("Set-Cookie") != "" || got.header.Get("Age") != "50" {
		t.Errorf("the freshened entry's header: %v; want the update, no cookie, age 50", got.header)
	}
	e.clock.Advance(time.Minute)
	if got := e.get("/strict/a", "If-None-Match", `"v1"`); got.status != 304 || got.body != "" {
		t.Errorf("a client's own condition, after validation: %d %q, want 304", got.status, got.body)
	}
	e.clock.Advance(2 * time.Minute)
	e.upstreamSays(validating(`"v2"`, "Cache-Control", "max-age=100"))
	got = e.get("/strict/a", "If-None-Match", `"v1"`)
	e.expect("a new version replaces the old", got, `body of "v2"`, "edge; fwd=stale; fwd-status=200; stored")
	e.expect("and is there", e.get("/strict/a"), `body of "v2"`, "edge; hit")
}

func TestA304OfAnotherResponseIsNotBelieved(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10"))
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v2"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, "second")
	})
	e.expect("RFC 9111, 4.3.4", e.get("/strict/a"), "second", "edge; fwd=stale; fwd-status=200")
}

// hijack makes the upstream send raw bytes, and close.
func hijack(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.Close()
	}
}

func TestIncompleteBodiesAreNotStored(t *testing.T) {
	for says, raw := range map[string]string{
		"shorter than Content-Length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"without the last chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"ended by the connection":     "HTTP/1.1 200 OK\r\n\r\nhalf",
	} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(hijack(raw))
			if resp, err := e.client.Get(e.server.URL + "/list"); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body) // ends early, one way or another
				_ = resp.Body.Close()
			}
			e.upstreamSays(validating(`"whole"`))
			e.expect("the next request", e.get("/list"), `body of "whole"`, "edge; fwd=uri-miss")
		})
	}
}

func TestAbandonedFillIsNotStored(t *testing.T) {
	e := newEdge(t, options{})
	gate, abandoned := newGate(t), make(chan struct{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half.")
		_ = http.NewResponseController(w).Flush()
		gate.arrived <- struct{}{}
		<-r.Context().Done()
		close(abandoned)
	})
	req, err := http.NewRequest(http.MethodGet, e.server.URL+"/list", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	<-gate.arrived
	_ = resp.Body.Close() // the client leaves
	<-abandoned           // an earlier request would join the abandoned one
	e.cache.Settle()
	e.upstreamSays(says("whole"))
	e.expect("the next request", e.get("/list"), "whole", "edge; fwd=uri-miss")
}

func TestMaxObject(t *testing.T) {
	const limit = 100 << 10 // as testPolicy says
	for _, size := range []int{limit, limit + 1} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, chunked %v", size, chunked), func(t *testing.T) {
				e := newEdge(t, options{})
				e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
					if !chunked {
						w.Header().Set("Content-Length", strconv.Itoa(size))
					}
					for range 10 {
						_, _ = io.WriteString(w, strings.Repeat("x", size/10))
						_ = http.NewResponseController(w).Flush()
					}
					_, _ = io.WriteString(w, strings.Repeat("x", size%10))
				})
				first, second := e.get("/list"), e.get("/list")
				if len(first.body) != size || len(second.body) != size {
					t.Fatalf("bodies of %d and %d bytes", len(first.body), len(second.body))
				}
				if stored := strings.HasPrefix(second.cacheStatus(), "edge; hit"); stored != (size <= limit) {
					t.Errorf("stored: %v; Cache-Status %q", stored, second.cacheStatus())
				}
			})
		}
	}
}

func TestBodiesStreamWhileTheyAreRecorded(t *testing.T) {
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first half, ")
		_ = http.NewResponseController(w).Flush()
		gate.wait()
		_, _ = io.WriteString(w, "second half")
	})
	resp, err := e.client.Get(e.server.URL + "/list")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	half := make([]byte, len("first half, "))
	if _, err := io.ReadFull(resp.Body, half); err != nil || string(half) != "first half, " {
		t.Fatalf("before the upstream is done: %q, %v", half, err)
	}
	gate.release()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	e.expect("the next", e.get("/list"), "first half, second half", "edge; hit")
}

func TestStaleWhileRevalidate(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old"))
	e.get("/list")
	e.clock.Advance(310 * time.Second)
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		gate.wait()
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified) // a client's condition is not the refresh's
			return
		}
		_, _ = io.WriteString(w, "new")
	})
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			e.expect("while it is refreshed", e.get("/list", "If-None-Match", `"mine"`), "old", "edge; hit; ttl=-10")
		})
	}
	clients.Wait()
	<-gate.arrived
	if n := e.asked.Load(); n != 2 {
		t.Errorf("the upstream was asked %d times; want the fill and one refresh", n)
	}
	gate.release()
	env.Until(e, "the refreshed entry", func() bool { return e.get("/list").body == "new" })
	e.expect("refreshed", e.get("/list"), "new", "edge; hit; ttl=300")
	if n := e.asked.Load(); n != 2 {
		t.Errorf("the upstream was asked %d times until the refresh was there; want 2", n)
	}

	e.clock.Advance(361 * time.Second)
	e.upstreamSays(says("newest"))
	e.expect("past the window it is validated first", e.get("/list"), "newest", "edge; fwd=stale; fwd-status=200")
}

func TestStaleWhileRevalidateSparesTheRequestThatWantsValidation(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old"))
	e.get("/list")
	e.clock.Advance(310 * time.Second)
	e.upstreamSays(says("new"))
	e.expect("request no-cache", e.get("/list", "Cache-Control", "no-cache"), "new", "edge; fwd=request; fwd-status=200")
}

func TestCloseEndsRefreshes(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old"))
	e.get("/list")
	e.clock.Advance(310 * time.Second)
	gate := newGate(t)
	e.upstreamSays(func(_ http.ResponseWriter, r *http.Request) {
		gate.arrived <- struct{}{}
		<-r.Context().Done()
	})
	e.get("/list")
	<-gate.arrived
	e.cache.Close() // hangs if the refresh does not end
	e.expect("after Close", e.get("/list"), "old", "edge; hit; ttl=-10")
}

func TestStaleIfError(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = io.WriteString(w, "failed") }
	}
	for _, tt := range []struct {
		says   string
		path   string
		stored string // Cache-Control
		fails  http.HandlerFunc
		after  time.Duration
		body   string
		status string
	}{
		{"policy, 503", "/list", "", status(503), time.Hour, "good", "edge; fwd=stale; fwd-status=503; detail=stale-if-error"},
		{"policy, closed connection", "/list", "", hijack(""), time.Hour, "good", "edge; fwd=stale; detail=stale-if-error"},
		{"policy, too old", "/list", "", status(503), 2 * time.Hour, "failed", "edge; fwd=uri-miss; fwd-status=503"}, // nor kept,
		{"policy, a 404 is no failure", "/list", "", status(404), time.Hour, "failed", "edge; fwd=stale; fwd-status=404"},
		{"policy, but must-revalidate", "/list", "must-revalidate", status(503), time.Hour, "failed", "edge; fwd=stale; fwd-status=503"},
		{"response directive, 500", "/strict/a", "max-age=1, stale-if-error=60", status(500), time.Minute, "good", "edge; fwd=stale; fwd-status=500; detail=stale-if-error"},
		{"response directive, closed connection", "/strict/a", "max-age=1, stale-if-error=60", hijack(""), time.Minute, "good", "edge; fwd=stale; detail=stale-if-error"},
		{"no directive, 503", "/strict/a", "max-age=1", status(503), time.Minute, "failed", "edge; fwd=stale; fwd-status=503"},
		{"no directive, closed connection (RFC 9111, 4.2.4)", "/strict/a", "max-age=1", hijack(""), time.Minute, "good", "edge; fwd=stale; detail=stale-if-error"},
		{"must-revalidate, closed connection (RFC 9111, 5.2.2.2)", "/strict/a", "max-age=1, must-revalidate", hijack(""), time.Minute, "", ""},
		{"s-maxage, closed connection (RFC 9111, 5.2.2.10)", "/strict/a", "s-maxage=1", hijack(""), time.Minute, "", ""},
		{"no-cache, closed connection (RFC 9111, 5.2.2.4)", "/strict/a", "max-age=1, no-cache", hijack(""), time.Minute, "", ""},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(says("good", "Cache-Control", tt.stored, "ETag", `"v1"`))
			e.get(tt.path)
			e.clock.Advance(tt.after)
			e.upstreamSays(tt.fails)
			got := e.get(tt.path)
			if tt.body == "" && tt.status == "" {
				if got.status != 502 {
					t.Errorf("%d %q, want the failure", got.status, got.body)
				}
				return
			}
			e.expect("after the failure", got, tt.body, tt.status)
		})
	}
}

func TestWritesInvalidate(t *testing.T) {
	cached := []string{"/list", "/item/5", "/item/6"}
	for _, tt := range []struct {
		says         string
		method, path string
		status       int
		header       []string
		purged       map[string]bool
	}{
		{says: "a PUT purges its route's tags", method: "PUT", path: "/item/5", status: 200, purged: map[string]bool{"/list": true, "/item/5": true}},
		{says: "a redirect after a write is a success", method: "DELETE", path: "/item/5", status: 303, purged: map[string]bool{"/list": true, "/item/5": true}},
		{says: "a refused PUT purges nothing", method: "PUT", path: "/item/5", status: 403},
		{says: "a failed PUT purges nothing", method: "PUT", path: "/item/5", status: 500},
		{says: "counting a view purges nothing", method: "POST", path: "/item/5/view", status: 200},
		{says: "RFC 9111, 4.4: an unsafe method invalidates its URI", method: "POST", path: "/list?page=9", status: 201, purged: map[string]bool{"/list": true}},
		{says: "RFC 9111, 4.4: so does an unknown one", method: "M-SEARCH", path: "/item/6", status: 200, purged: map[string]bool{"/item/6": true}},
		{says: "RFC 9111, 4.4: OPTIONS is safe", method: "OPTIONS", path: "/item/6", status: 200},
		{
			says: "RFC 9111, 4.4: another port's and another scheme's are another origin's", method: "POST", path: "/elsewhere", status: 201,
			header: []string{"Location", "http://api.test:8080/item/5", "Content-Location", "https://api.test/item/6"},
		},
		{
			says: "RFC 9111, 4.4: Location and Content-Location of the same origin", method: "POST", path: "/elsewhere", status: 201,
			header: []string{"Location", "/item/5", "Content-Location", "http://API.test:80/item/6"}, purged: map[string]bool{"/item/5": true, "/item/6": true},
		},
		{
			says: "RFC 9111, 4.4: another host's are left alone", method: "POST", path: "/elsewhere", status: 201,
			header: []string{"Location", "http://other.test/item/5"},
		},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(says("before"))
			for _, path := range cached {
				e.get(path)
			}
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
				for i := 0; i < len(tt.header); i += 2 {
					w.Header().Set(tt.header[i], tt.header[i+1])
				}
				w.WriteHeader(tt.status)
			})
			if got := e.do(tt.method, tt.path, "content"); got.status != tt.status {
				t.Fatalf("%s %s: %d", tt.method, tt.path, got.status)
			}
			e.upstreamSays(says("after"))
			for _, path := range cached {
				want := "before"
				if tt.purged[path] {
					want = "after"
				}
				if got := e.get(path); got.body != want {
					t.Errorf("then %s gives %q, want %q", path, got.body, want)
				}
			}
		})
	}
}

func TestAFillThatBeganBeforeAPurgeIsNotServedAfterIt(t *testing.T) {
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		gate.wait()
		_, _ = io.WriteString(w, "before the purge")
	})
	for _, path := range []string{"/list", "/list?page=2"} {
		var client sync.WaitGroup
		client.Go(func() {
			if got := e.get(path); got.body != "before the purge" {
				t.Errorf("the client of the fill got %q", got.body)
			}
		})
		defer client.Wait()
		<-gate.arrived
	}
	if err := e.tags.Purge(t.Context(), "restaurants"); err != nil {
		t.Fatal(err)
	}
	e.upstreamSays(says("after the purge"))
	e.expect("a fill after the purge", e.get("/list"), "after the purge", "edge; fwd=uri-miss")
	gate.release()
	e.exchange() // both early fills have ended
	e.expect("is not replaced by the one before it", e.get("/list"), "after the purge", "edge; hit")
	e.expect("a purged part is not served alone either", e.get("/list?page=2"), "after the purge", "edge; fwd=uri-miss")
}

func TestA304WithoutDateIsOfToday(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		validating(`"v1"`, "Cache-Control", "max-age=10")(undated{w}, r)
	})
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	e.expect("validated", e.get("/strict/a"), `body of "v1"`, "edge; fwd=stale; fwd-status=304; stored")
	e.clock.Advance(5 * time.Second)
	e.expect("RFC 9110, 6.6.1: the response is as old as the 304", e.get("/strict/a"), `body of "v1"`, "edge; hit; ttl=5")
}

// undated omits Date in a 304.
type undated struct{ http.ResponseWriter }

func (u undated) WriteHeader(status int) {
	u.Header()["Date"] = nil
	u.ResponseWriter.WriteHeader(status)
}

func TestRFC9110_6_6_1_AResponseWithoutDateGetsThatOfItsArrival(t *testing.T) {
	e := newEdge(t, options{})
	e.clock.Advance(time.Hour) // differs from the clock of net/http, which adds a missing Date
	arrival := e.clock.Now().UTC().Format(http.TimeFormat)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		undated{w}.WriteHeader(http.StatusOK)
	})
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	hit := e.get("/strict/a")
	e.expect("a hit", hit, "", "edge; hit")
	if got := hit.header.Get("Date"); got != arrival {
		t.Errorf("Date %q, want %q", got, arrival)
	}
}

func TestTheCacheStatusOfA304IsNotTheResponses(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10"))
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10", "Cache-Status", "inner; fwd=stale"))
	e.get("/strict/a")
	if got := e.get("/strict/a").header.Values("Cache-Status"); len(got) != 1 {
		t.Errorf("Cache-Status of a hit after validation: %q", got)
	}
}

func TestMethodsAndContentGoPast(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("body", "Cache-Control", "max-age=60"))
	e.expect("a POST on a cached route", e.do("POST", "/strict/a", "x"), "body", "edge; fwd=method; fwd-status=200")
	e.expect("a GET with content", e.do("GET", "/strict/a", "x"), "body", "edge; fwd=bypass; fwd-status=200")
	if p := e.exchange().Plan; p.Shared || p.Store || p.Lookup {
		t.Errorf("the plan of a bypassed request is %+v", p)
	}
	e.expect("neither was stored", e.get("/strict/a"), "body", "edge; fwd=uri-miss")
}

func TestSetCookieStoredByChoice(t *testing.T) {
	e := newEdge(t, options{policy: strings.Replace(testPolicy, "max_object: 100KiB", "store_set_cookie: true", 1)})
	e.upstreamSays(says("body", "Cache-Control", "max-age=60", "Set-Cookie", "a=b"))
	e.get("/strict/a")
	got := e.get("/strict/a")
	e.expect("stored", got, "body", "edge; hit")
	if got.header.Get("Set-Cookie") != "a=b" {
		t.Errorf("header %v", got.header)
	}
	e.get("/list")
	e.expect("but the policy's ttl still does not apply to it", e.get("/list", "Cache-Control", "only-if-cached"), "body", "edge; hit; ttl=60")
}
