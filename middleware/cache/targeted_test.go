package cache_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRFC9213_2_TargetedFieldsAreObeyedAndForwarded(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("a", "CDN-Cache-Control", "max-age=60", "Cache-Control", "no-store", "Expires", "0"))
	e.get("/strict/a")
	got := e.get("/strict/a")
	e.expect("CDN-Cache-Control outweighs no-store", got, "a", "edge; hit; ttl=60")
	if got.header.Get("CDN-Cache-Control") != "max-age=60" || got.header.Get("Cache-Control") != "no-store" || got.header.Get("Expires") != "0" {
		t.Errorf("header %v", got.header)
	}
	e.upstreamSays(says("b", "CDN-Cache-Control", `max-age="60"`, "Cache-Control", "no-store"))
	e.get("/strict/b")
	e.expect("one that is malformed does not", e.get("/strict/b"), "b", "edge; fwd=uri-miss; fwd-status=200")
	e.upstreamSays(says("c", "Edge-Cache-Control", "private", "CDN-Cache-Control", "max-age=60"))
	e.get("/strict/c")
	e.expect("this cache's own comes first", e.get("/strict/c"), "c", "edge; fwd=uri-miss; fwd-status=200")
}

func TestRFC9213_2_TargetedFieldsOfA304(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "CDN-Cache-Control", "max-age=10"))
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	e.upstreamSays(validating(`"v1"`, "CDN-Cache-Control", "max-age=100"))
	e.expect("validated", e.get("/strict/a"), `body of "v1"`, "edge; fwd=stale; fwd-status=304; stored")
	e.expect("fresh by the update", e.get("/strict/a"), `body of "v1"`, "edge; hit; ttl=100")
}

func TestRFC9111_3_2_AnUpdateThatForbidsStoringEndsTheUse(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=100"))
	e.get("/strict/a")
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "no-store"))
	e.get("/strict/a", "Cache-Control", "no-cache")
	e.expect("the next", e.get("/strict/a"), `body of "v1"`, "edge; fwd=stale; fwd-status=304")
}

func TestRFC9875_CacheGroups(t *testing.T) {
	e := newEdge(t, options{})
	fill := func() {
		for path, groups := range map[string]string{"/strict/a": `"menu", "x"`, "/strict/b": `"menu"`, "/strict/c": `"other"`} {
			e.upstreamSays(says("old", "Cache-Control", "max-age=60", "Cache-Groups", groups))
			e.get(path)
		}
		e.upstreamSays(says("new", "Cache-Control", "max-age=60"))
	}
	expect := func(says, want string) {
		t.Helper()
		got := e.get("/strict/a").body + " " + e.get("/strict/b").body + " " + e.get("/strict/c").body
		if got != want {
			t.Errorf("%s: %s, want %s", says, got, want)
		}
	}
	fill()
	e.upstreamSays(says("", "Cache-Group-Invalidation", `"menu"`))
	e.get("/other")
	e.upstreamSays(says("new", "Cache-Control", "max-age=60"))
	expect("3: ignored on a GET", "old old old")
	e.upstreamSays(says("", "Cache-Group-Invalidation", `"menu"`))
	e.do("POST", "/other", "x", "X-Test-Authority", "api.test:8443")
	e.upstreamSays(says("new", "Cache-Control", "max-age=60"))
	expect("2.1: groups of another origin are others", "old old old")
	e.upstreamSays(says("", "Cache-Group-Invalidation", `"menu", "nobody"`))
	e.do("POST", "/other", "x")
	e.upstreamSays(says("new", "Cache-Control", "max-age=60"))
	expect("3: on a POST", "new new old")
}

func TestRFC9875_AFillThatBeganBeforeTheInvalidationIsNotServed(t *testing.T) {
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		gate.wait()
		says("old", "Cache-Control", "max-age=60", "Cache-Groups", `"menu"`)(w, r)
	})
	done := make(chan struct{})
	go func() { defer close(done); e.get("/strict/a") }()
	<-gate.arrived
	e.upstreamSays(says("", "Cache-Group-Invalidation", `"menu"`))
	e.do("POST", "/other", "x")
	gate.release()
	<-done
	e.exchange()
	e.upstreamSays(says("new", "Cache-Control", "max-age=60"))
	e.expect("the next", e.get("/strict/a"), "new", "edge; fwd=uri-miss")
}

func TestRFC9110_9_3_3_APostFillsForLaterGets(t *testing.T) {
	storable := []string{"Cache-Control", "max-age=60", "Content-Location", "/strict/a?b=1"}
	for _, tt := range []struct {
		says     string
		path     string
		request  []string
		response []string
		stored   bool
	}{
		{says: "its own representation, explicitly fresh", stored: true},
		{says: "no Content-Location", response: storable[:2]},
		{says: "another's", response: []string{"Cache-Control", "max-age=60", "Content-Location", "/strict/b"}},
		{says: "no explicit freshness", response: storable[2:]},
		{says: "of a request with cookies", request: []string{"Cookie", "a=b"}},
		{says: "with Set-Cookie", response: append([]string{"Set-Cookie", "a=b"}, storable...)},
		{says: "of an authorised request", request: []string{"Authorization", "x"}},
		{says: "of a session", request: []string{"X-Test-Session", "x"}},
		{says: "of a request with no-store", request: []string{"Cache-Control", "no-store"}},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(says("before", "Cache-Control", "max-age=60"))
			e.get("/strict/a?b=1")
			if tt.response == nil {
				tt.response = storable
			}
			e.upstreamSays(says("posted", tt.response...))
			post := e.do("POST", "/strict/a?b=1", "x", tt.request...)
			if stored := strings.Contains(post.cacheStatus(), "stored"); stored != tt.stored {
				t.Errorf("Cache-Status %q", post.cacheStatus())
			}
			e.upstreamSays(says("after"))
			want, status := "after", "edge; fwd=uri-miss"
			if tt.stored {
				want, status = "posted", "edge; hit; ttl=60"
			}
			e.expect("then a GET", e.get("/strict/a?b=1"), want, status)
		})
	}
}

func TestRFC9110_9_3_3_APostIsNeverAnsweredFromTheStore(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("one", "Cache-Control", "max-age=60", "Content-Location", "/strict/a"))
	e.do("POST", "/strict/a", "x")
	e.upstreamSays(says("two"))
	e.expect("the second", e.do("POST", "/strict/a", "x"), "two", "edge; fwd=method")
}

func TestRFC9110_9_3_3_APostFillsTheGetsOfItsRouteAlone(t *testing.T) {
	for says, tt := range map[string]struct {
		routes string
		stored bool
	}{
		"the route of its GETs": {`[{name: a, match: {path: /a}, upstream: up, cache: {mode: strict}}]`, true},
		"another takes the GETs": {`
  - {name: gets, match: {methods: [GET], path: /a}, upstream: up, cache: {mode: strict, vary: [X-A]}}
  - {name: rest, match: {path: /a}, upstream: up, cache: {mode: strict}}`, false},
		"GETs are asked for with less of the query": {`[{name: a, match: {path: /a}, upstream: up, cache: {mode: strict, query: {allow: [b]}}}]`, false},
	} {
		e := newEdge(t, options{policy: "version: 1\nupstreams: {up: {targets: [\"http://127.0.0.1:1\"]}}\nroutes: " + tt.routes})
		e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Location", r.URL.RequestURI())
		})
		post := e.do("POST", "/a?b=1&c=2", "x")
		if stored := strings.Contains(post.cacheStatus(), "stored"); stored != tt.stored {
			t.Errorf("%s: Cache-Status %q", says, post.cacheStatus())
		}
	}
}
