package cache_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/middleware/cache"
)

func TestHitIsTheMissByteForByte(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(strings.Repeat("restaurant ", 5000), "Content-Type", "text/plain", "X-A", "1", "X-A", "2"))
	miss := e.get("/list?page=1")
	e.expect("first request", miss, strings.Repeat("restaurant ", 5000), "edge; fwd=uri-miss; fwd-status=200; stored")
	e.clock.Advance(89 * time.Second)
	hit := e.get("/list?page=1")
	e.expect("second request", hit, miss.body, "edge; hit; ttl=211; detail=l1")
	if hit.header.Get("Age") != "89" {
		t.Errorf("Age %q after 89 s", hit.header.Get("Age"))
	}
	for _, name := range []string{"Content-Type", "X-A", "Content-Length", "Date"} {
		if fmt.Sprint(hit.header[name]) != fmt.Sprint(miss.header[name]) && name != "Content-Length" {
			t.Errorf("header %s: %q at the miss, %q at the hit", name, miss.header[name], hit.header[name])
		}
	}
	if got := e.asked.Load(); got != 1 {
		t.Errorf("the upstream was asked %d times", got)
	}
	if facts := e.exchange().Facts; facts.Cache != "hit" {
		t.Errorf("Facts.Cache = %q", facts.Cache)
	}
}

// TestWhatIsReused asks twice and checks whether the second response came from the store.
func TestWhatIsReused(t *testing.T) {
	const etag, fresh = `"v1"`, "max-age=600"
	tests := []struct {
		says     string
		path     string
		request  []string // headers of both requests
		second   []string // headers of the second alone
		response []string
		status   int
		reused   bool
	}{
		{says: "the policy's ttl makes a response without freshness reusable", path: "/list", reused: true},
		{says: "a max-age of zero does not shorten the policy's ttl at this edge", path: "/list", response: []string{"Cache-Control", "max-age=0"}, reused: true},
		{says: "the ttl does not override private", path: "/list", response: []string{"Cache-Control", "private"}},
		{says: "the ttl does not override no-store", path: "/list", response: []string{"Cache-Control", "no-store"}},
		{says: "the ttl does not override Set-Cookie", path: "/list", response: []string{"Set-Cookie", "access_token=secret"}},
		{says: "the ttl does not override Authorization", path: "/list", request: []string{"Authorization", "Bearer x"}},
		{says: "a response to a request with Authorization is not stored", path: "/list", second: []string{"Authorization", "Bearer x"}},
		{says: "Set-Cookie is not stored in strict mode either", path: "/strict/a", response: []string{"Cache-Control", fresh, "Set-Cookie", "a=b"}},
		{says: "a request with the bypass cookie bypasses the cache", path: "/list", request: []string{"Cookie", "x=1; access_token=t"}},
		{says: "so does one with an empty bypass cookie", path: "/list", request: []string{"Cookie", "access_token="}},
		{says: "a stored response is not for a request with the bypass cookie", path: "/list", second: []string{"Cookie", "access_token=t"}},
		{says: "another cookie changes nothing", path: "/list", second: []string{"Cookie", "theme=dark"}, reused: true},
		{says: "RFC 9110, 13.1.1: If-Match is the origin's", path: "/list", second: []string{"If-Match", `"a"`}},
		{says: "RFC 9110, 13.1.4: so is If-Unmodified-Since", path: "/list", second: []string{"If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"}},
		{says: "413 is never stored", path: "/strict/a", status: 413, response: []string{"Cache-Control", fresh}},
		{says: "431 is never stored", path: "/strict/a", status: 431, response: []string{"Cache-Control", fresh}},
		{says: "416 is never stored", path: "/strict/a", status: 416, response: []string{"Cache-Control", fresh}},
		{says: "the ttl does not make a 500 reusable", path: "/list", status: 500},
		{says: "a 400 is not stored", path: "/list", status: 400, response: []string{"Cache-Control", fresh}},
		{says: "a 431 is not stored", path: "/list", status: 431, response: []string{"Cache-Control", fresh}},
		{says: "the ttl covers a 404", path: "/list", status: 404, reused: true},
		{says: "a route without a cache section caches nothing", path: "/other", response: []string{"Cache-Control", fresh}},
		{says: "strict mode needs the origin's permission", path: "/strict/a"},
		{says: "strict mode with the origin's permission", path: "/strict/a", response: []string{"Cache-Control", fresh}, reused: true},
		{says: "RFC 9111, 3.5: Authorization without permission", path: "/strict/a", request: []string{"Authorization", "x"}, response: []string{"Cache-Control", fresh}},
		{says: "RFC 9111, 3.5: Authorization with public", path: "/strict/a", request: []string{"Authorization", "x"}, response: []string{"Cache-Control", fresh + ", public"}, reused: true},
		{says: "RFC 9111, 4.1: Vary: *", path: "/strict/a", response: []string{"Cache-Control", fresh, "Vary", "*"}},
		{says: "RFC 9111, 4.1: the selecting field has the same value", path: "/strict/a", request: []string{"X-A", "1"}, response: []string{"Cache-Control", fresh, "Vary", "X-A"}, reused: true},
		{says: "RFC 9111, 4.1: the selecting field is new", path: "/strict/a", second: []string{"X-A", "1"}, response: []string{"Cache-Control", fresh, "Vary", "X-A"}},
		{says: "RFC 9111, 5.2.1.4: request no-cache", path: "/strict/a", second: []string{"Cache-Control", "no-cache"}, response: []string{"Cache-Control", fresh}},
		{says: "RFC 9111, 5.4: Pragma: no-cache", path: "/strict/a", second: []string{"Pragma", "no-cache"}, response: []string{"Cache-Control", fresh}},
		{says: "RFC 9111, 5.2.1.5: request no-store stores nothing", path: "/strict/a", request: []string{"Cache-Control", "no-store"}, response: []string{"Cache-Control", fresh}},
		{says: "RFC 9111, 5.2.1.1: request max-age above the age", path: "/strict/a", second: []string{"Cache-Control", "max-age=60"}, response: []string{"Cache-Control", fresh}, reused: true},
		{says: "RFC 9111, 5.2.2.4: response no-cache is validated", path: "/strict/a", response: []string{"Cache-Control", "no-cache", "ETag", etag}},
		{says: "shared entries are not for one session alone", path: "/mine", response: []string{"Cache-Control", fresh}, second: []string{"X-Test-Session", "b"}},
	}
	for _, tt := range tests {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				for i := 0; i < len(tt.response); i += 2 {
					w.Header().Add(tt.response[i], tt.response[i+1])
				}
				if tt.status != 0 {
					w.WriteHeader(tt.status)
				}
				_, _ = fmt.Fprint(w, e.asked.Load())
			})
			e.get(tt.path, tt.request...)
			second := e.get(tt.path, append(tt.request, tt.second...)...)
			if reused := second.body == "1"; reused != tt.reused {
				t.Errorf("reused = %v; Cache-Status %q", reused, second.cacheStatus())
			}
			if !tt.reused && strings.Contains(second.cacheStatus(), "hit") {
				t.Errorf("Cache-Status %q without a hit", second.cacheStatus())
			}
			if tt.path == "/other" && second.cacheStatus() != "" {
				t.Errorf("Cache-Status %q on a route without a cache", second.cacheStatus())
			}
		})
	}
}

func TestNothingIsKeptForLongerThanMaxKeep(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old", "Cache-Control", "max-age=31536000"))
	e.get("/strict/a")
	e.upstreamSays(says("new"))
	e.clock.Advance(cache.MaxKeep)
	e.expect("just before", e.get("/strict/a"), "old", "edge; hit")
	e.clock.Advance(time.Second)
	e.expect("after it", e.get("/strict/a"), "new", "edge; fwd=uri-miss")
}

func TestQueryIsKeyedAsItIsSent(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.URL.RawQuery) })
	first := e.get("/list?utm=x&page=2&latitude=40.71281")
	e.expect("the upstream gets the keyed query", first, "latitude=40.713&page=2", "edge; fwd=uri-miss")
	e.expect("an equivalent query is a hit", e.get("/list?latitude=40.7133&page=2&utm=y"), first.body, "edge; hit")
	e.expect("another page is another resource", e.get("/list?latitude=40.7133&page=3"), "latitude=40.713&page=3", "edge; fwd=uri-miss")
}

// The key contains all of Host, since the upstream may put it into links.
func TestThePortOfHostIsKeyed(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("link"))
	e.expect("with a port of somebody's choice", e.get("/list", "X-Test-Authority", "api.test:1337"), "link", "edge; fwd=uri-miss")
	e.expect("without", e.get("/list"), "link", "edge; fwd=uri-miss")
	e.expect("without, again", e.get("/list"), "link", "edge; hit")
	if err := e.tags.Purge(t.Context(), "uri:api.test/list"); err != nil {
		t.Fatal(err)
	}
	e.expect("a purge knows no port", e.get("/list", "X-Test-Authority", "api.test:1337"), "link", "edge; fwd=uri-miss")
}

func TestVariants(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Encoding, X-Lang")
		_, _ = fmt.Fprintf(w, "%s for %q", r.Header.Get("X-Lang"), r.Header.Get("Accept-Encoding"))
	})
	german := e.get("/list", "X-Lang", "de")
	e.expect("first", german, `de for "identity"`, "edge; fwd=uri-miss")
	e.expect("a client that takes codings", e.get("/list", "X-Lang", "de", "Accept-Encoding", "gzip, deflate, br"), german.body, "edge; hit")
	e.expect("a client that refuses some", e.get("/list", "X-Lang", "de", "Accept-Encoding", "gzip;q=0, br"), german.body, "edge; hit")
	e.expect("another value of a field that only the response names", e.get("/list", "X-Lang", "en"), `en for "identity"`, "edge; fwd=vary-miss")
	e.expect("the first is still there", e.get("/list", "X-Lang", "de"), german.body, "edge; hit")
}

func TestManagedModeMendsAForgottenVary(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		_, _ = fmt.Fprint(w, "for ", r.Header.Get("Origin"))
	})
	e.expect("first", e.get("/item/1", "Origin", "https://a.test"), "for https://a.test", "edge; fwd=uri-miss")
	e.expect("another origin", e.get("/item/1", "Origin", "https://b.test"), "for https://b.test", "edge; fwd=uri-miss")
	e.expect("the first again", e.get("/item/1", "Origin", "https://a.test"), "for https://a.test", "edge; hit")
}

func TestConditionalRequestsAreAnsweredFromTheStore(t *testing.T) {
	e := newEdge(t, options{})
	changed := e.clock.Now().Add(-time.Hour).UTC()
	e.upstreamSays(says("body", "ETag", `W/"v1"`, "Last-Modified", changed.Format(http.TimeFormat), "Content-Type", "text/x"))
	e.get("/list")
	for _, tt := range []struct {
		says   string
		header []string
		status int
	}{
		{"the entity tag matches, weakly", []string{"If-None-Match", `"v1"`}, 304},
		{"one of a list matches", []string{"If-None-Match", `"x,y", W/"v1"`}, 304},
		{"anything matches *", []string{"If-None-Match", "*"}, 304},
		{"another tag", []string{"If-None-Match", `"v2"`}, 200},
		{"not changed since", []string{"If-Modified-Since", changed.Format(http.TimeFormat)}, 304},
		{"changed since", []string{"If-Modified-Since", changed.Add(-time.Second).Format(http.TimeFormat)}, 200},
		{"a tag outweighs the date", []string{"If-None-Match", `"v2"`, "If-Modified-Since", changed.Format(http.TimeFormat)}, 200},
	} {
		got := e.get("/list", tt.header...)
		if got.status != tt.status || (got.status == 304) != (got.body == "") {
			t.Errorf("%s: %d %q, want %d", tt.says, got.status, got.body, tt.status)
		}
		if got.header.Get("ETag") != `W/"v1"` || got.header.Get("Age") == "" || (got.status == 304 && got.header.Get("Content-Type") != "") {
			t.Errorf("%s: header %v", tt.says, got.header)
		}
	}
	if n := e.asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestHead(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("twelve bytes"))
	if got := e.do("HEAD", "/list", ""); !strings.HasPrefix(got.cacheStatus(), "edge; fwd=uri-miss; fwd-status=200") || strings.Contains(got.cacheStatus(), "stored") {
		t.Errorf("HEAD at an empty cache: Cache-Status %q", got.cacheStatus())
	}
	e.expect("a HEAD fills nothing", e.get("/list"), "twelve bytes", "edge; fwd=uri-miss")
	got := e.do("HEAD", "/list", "")
	e.expect("a HEAD is answered from a GET", got, "", "edge; hit")
	if got.header.Get("Content-Length") != "12" {
		t.Errorf("Content-Length %q", got.header.Get("Content-Length"))
	}
}

func TestOnlyIfCached(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("body"))
	if got := e.get("/list", "Cache-Control", "only-if-cached"); got.status != 504 || e.asked.Load() != 0 {
		t.Errorf("nothing stored: %d, the upstream was asked %d times", got.status, e.asked.Load())
	}
	e.get("/list")
	e.expect("stored", e.get("/list", "Cache-Control", "only-if-cached"), "body", "edge; hit")
}

func TestMaxStale(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("body", "Cache-Control", "max-age=10"))
	e.get("/strict/a")
	e.clock.Advance(25 * time.Second)
	e.expect("stale, and the client takes it", e.get("/strict/a", "Cache-Control", "max-stale=20"), "body", "edge; hit; ttl=-15")
	e.expect("too stale", e.get("/strict/a", "Cache-Control", "max-stale=5"), "body", "edge; fwd=stale")
}

func TestPrivateEntries(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=60")
		_, _ = fmt.Fprint(w, "for ", r.Header.Get("X-Test-Session"))
	})
	e.expect("first", e.get("/mine", "X-Test-Session", "a"), "for a", "edge; fwd=uri-miss; fwd-status=200; stored")
	if e.exchange().Plan.Shared {
		t.Error("the plan of a private entry is shared: the upstream would not get the session")
	}
	e.expect("the same session", e.get("/mine", "X-Test-Session", "a"), "for a", "edge; hit")
	e.expect("another session", e.get("/mine", "X-Test-Session", "b"), "for b", "edge; fwd=uri-miss")
	e.expect("nobody", e.get("/mine"), "for ", "edge; fwd=uri-miss; fwd-status=200")
	e.expect("a private response is not stored without a session", e.get("/mine"), "for ", "edge; fwd=uri-miss; fwd-status=200")
}

// A response to cookies may set newer ones, so a client must be there for it.
func TestWhatCookiesSelectIsNotRefreshedInTheBackground(t *testing.T) {
	for cookie, want := range map[string]string{"": "edge; hit; ttl=-10", "a=1": "edge; fwd=stale; fwd-status=200; stored"} {
		e := newEdge(t, options{})
		e.upstreamSays(says("body", "Cache-Control", "private, max-age=10, stale-while-revalidate=60"))
		header := []string{"X-Test-Session", "a"}
		if cookie != "" {
			header = append(header, "Cookie", cookie)
		}
		e.get("/mine", header...)
		e.clock.Advance(20 * time.Second)
		e.expect("stale, with the cookies "+cookie, e.get("/mine", header...), "body", want)
	}
}

func TestUpstreamCacheStatusComesFirst(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("body", "Cache-Status", "origin; hit"))
	for _, want := range []string{"edge; fwd=uri-miss", "edge; hit"} {
		got := e.get("/list").header.Values("Cache-Status")
		if len(got) != 2 || got[0] != "origin; hit" || !strings.HasPrefix(got[1], want) {
			t.Errorf("Cache-Status %q, want the origin's, then %s", got, want)
		}
	}
}
