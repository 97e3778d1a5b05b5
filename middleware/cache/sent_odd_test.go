package cache_test

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const namesPolicy = `
version: 1
upstreams: {up: {targets: ["http://127.0.0.1:1"]}}
routes:
  - {name: auth, match: {path: /auth}, upstream: up, cache: {mode: strict, bypass: ["cookie:access_token"]}}
`

// ASP.NET ignores the case of cookie names; PHP reads a dot in them as an underscore.
func TestABypassOfCookieNamesThatUpstreamsReadOtherwise(t *testing.T) {
	for _, name := range []string{"Access_Token", "access.token"} {
		e := newEdge(t, options{policy: namesPolicy})
		e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
			who := "nobody"
			for _, c := range r.Cookies() {
				if strings.ToLower(strings.ReplaceAll(c.Name, ".", "_")) == "access_token" {
					who = c.Value
				}
			}
			says(who, "Cache-Control", "max-age=60")(w, r)
		})
		e.get("/auth", "Cookie", name+"=evil")
		if got := e.get("/auth"); got.body != "nobody" {
			t.Errorf("%s: another visitor gets %q, %s", name, got.body, got.cacheStatus())
		}
	}
}

// The second response may declare a field that the first one did not. The client must not get a
// response that was made without a field that it sent.
func TestAFieldDeclaredOnTheSecondAnswer(t *testing.T) {
	e := newSentEdge(t, nil)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Tenant") == "" {
			w.Header().Set("Vary", "X-Tenant")
			_, _ = io.WriteString(w, "no tenant")
			return
		}
		w.Header().Set("Vary", "X-Tenant, Accept-Language")
		_, _ = io.WriteString(w, r.Header.Get("X-Tenant")+" in "+r.Header.Get("Accept-Language"))
	})
	if got := e.get("/plain", "X-Tenant", "a", "Accept-Language", "he"); got.body != "a in he" {
		t.Errorf("%q, %s", got.body, got.cacheStatus())
	}
}

// The Vary of a response that is never stored must not affect entries: otherwise one request for an
// error page would make all entries of a route vary, forever.
func TestAnErrorDeclaresNoFieldForTheWholeRoute(t *testing.T) {
	for says, fail := range map[string]func(http.ResponseWriter){
		"an error":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
		"a no-store": func(w http.ResponseWriter) { w.Header().Set("Cache-Control", "no-store") },
	} {
		e := newSentEdge(t, nil)
		e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "odd" {
				w.Header().Set("Vary", "User-Agent, X-Any")
				fail(w)
				return
			}
			_, _ = io.WriteString(w, "body")
		})
		e.get("/plain?odd", "User-Agent", "evil", "X-Any", "1")
		e.get("/plain", "User-Agent", "one")
		e.expect(says+", and another browser", e.get("/plain", "User-Agent", "two"), "body", "edge; hit")
	}
}

// The names of fields that a route does not send are remembered and logged. Clients choose their
// number, which is bounded, and their length.
func TestLongFieldNamesAreNotRemembered(t *testing.T) {
	const n, size = 60, 30_000
	e := newSentEdge(t, nil)
	before := heapInUse()
	for i := range n {
		e.get("/plain", "X-"+strings.Repeat("a", size)+strconv.Itoa(i), "1", "Cache-Control", "no-cache")
	}
	logged := e.log.Len()
	e.log = bytes.Buffer{}
	if grown := int64(heapInUse()) - int64(before); grown > n*size/4 {
		t.Errorf("%d bytes stay in memory after %d requests with a long field name each", grown, n)
	}
	if logged > n*1000 {
		t.Errorf("%d bytes are logged for %d requests", logged, n)
	}
}

// The repeated request with a newly declared field may fail, like the first one. The stored
// response is then served stale, and the upstream is left alone briefly.
func TestAFailureAfterADeclarationIsServedStale(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old", "Etag", `"v1"`))
	e.get("/list")
	e.clock.Advance(400 * time.Second) // past ttl and stale_while_revalidate
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-New") != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Vary", "X-New")
		_, _ = io.WriteString(w, "new")
	})
	e.expect("with the field", e.get("/list", "X-New", "1"), "old", "edge; fwd=stale; fwd-status=503; detail=stale-if-error")
}

const debugPolicy = `
version: 1
upstreams: {up: {targets: ["http://127.0.0.1:1"]}}
routes:
  - {name: debug, match: {path: /debug}, upstream: up, cache: {mode: strict, bypass: ["header:X-Debug"]}}
`

// A POST that bypasses the cache does not fill it for GETs.
func TestAPostThatBypassesIsNotStored(t *testing.T) {
	e := newEdge(t, options{policy: debugPolicy})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		says("debug "+r.Header.Get("X-Debug"), "Cache-Control", "max-age=60", "Content-Location", "/debug")(w, r)
	})
	e.do("POST", "/debug", "x", "X-Debug", "1")
	if got := e.get("/debug"); got.body != "debug " {
		t.Errorf("another visitor gets %q, %s", got.body, got.cacheStatus())
	}
}

// Several Cookie lines all count: an empty first one does not hide the others.
func TestAPostWithAnEmptyCookieLineIsNotStored(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		says("of "+strings.Join(r.Header["Cookie"], ""), "Cache-Control", "max-age=60", "Content-Location", "/strict/a")(w, r)
	})
	e.do("POST", "/strict/a", "x", "Cookie", "", "Cookie", "sid=evil")
	if got := e.get("/strict/a"); got.body != "of " {
		t.Errorf("another visitor gets %q, %s", got.body, got.cacheStatus())
	}
}

// A chunked QUERY has the key of one with Content-Length. If it were forwarded chunked, an upstream
// that does not read chunks, like many WSGI servers, would see no content, and its response would
// go to everybody.
func TestAQueryInChunksIsSentAsItIsKeyed(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(io.LimitReader(r.Body, max(0, r.ContentLength))) // PEP 3333: CONTENT_LENGTH
		says("found by "+string(b), "Cache-Control", "max-age=60")(w, r)
	})
	req, err := http.NewRequestWithContext(t.Context(), "QUERY", e.server.URL+"/strict/a", io.NopCloser(strings.NewReader("a=1")))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = -1
	resp, err := e.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if got := e.do("QUERY", "/strict/a", "a=1"); got.body != "found by a=1" {
		t.Errorf("another visitor gets %q, %s", got.body, got.cacheStatus())
	}
}

// PostgREST and other pagers answer "Range: 0-0" with 200 and Content-Range: 0-0/*. A 200 with
// Content-Range is a part, selected by a field that is in no key: the next client must not get it.
func TestA200WithContentRangeIsNotStoredAsTheWhole(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", "0-0/*")
			_, _ = io.WriteString(w, `[1]`)
			return
		}
		_, _ = io.WriteString(w, `[1,2,3]`)
	})
	e.get("/list", "Range", "0-0")
	if got := e.get("/list"); got.body != `[1,2,3]` {
		t.Errorf("another visitor gets %q, %s", got.body, got.cacheStatus())
	}
}
