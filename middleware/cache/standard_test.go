package cache_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRFC9111_4_4_SafeMethodsNeverInvalidate(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old", "Cache-Control", "max-age=60"))
	e.get("/strict/a")
	e.upstreamSays(says("", "Location", "/strict/a", "Content-Location", "/strict/a", "Cache-Group-Invalidation", `"x"`))
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "QUERY"} {
		e.do(method, "/strict/b", "")
		e.do(method, "/other", "")
	}
	e.expect("afterwards", e.get("/strict/a"), "old", "edge; hit")
}

func TestRFC9111_5_2_1_DirectivesOfRequests(t *testing.T) {
	for _, tt := range []struct {
		says    string
		control string // of the request
		stored  string // Cache-Control of the stored response
		after   time.Duration
		hit     bool
		status  int
	}{
		{"5.2.1.7: only-if-cached, a hit", "only-if-cached", "max-age=60", 30 * time.Second, true, 200},
		{"5.2.1.7: only-if-cached, stale", "only-if-cached", "max-age=60", 90 * time.Second, false, 504},
		{"5.2.1.2: max-stale, within", "max-stale=40", "max-age=60", 90 * time.Second, true, 200},
		{"5.2.1.2: max-stale, beyond", "max-stale=20", "max-age=60", 90 * time.Second, false, 200},
		{"5.2.1.2: max-stale without a limit", "max-stale", "max-age=60", 900 * time.Second, true, 200},
		{"5.2.2.2: max-stale, but must-revalidate", "max-stale", "max-age=60, must-revalidate", 90 * time.Second, false, 200},
		{"5.2.2.8: max-stale, but proxy-revalidate", "max-stale", "max-age=60, proxy-revalidate", 90 * time.Second, false, 200},
		{"5.2.2.10: max-stale, but s-maxage", "max-stale", "s-maxage=60", 90 * time.Second, false, 200},
		{"5.2.1.2: max-stale together with only-if-cached", "max-stale, only-if-cached", "max-age=60", 90 * time.Second, true, 200},
		{"5.2.1.3: min-fresh, enough", "min-fresh=20", "max-age=60", 30 * time.Second, true, 200},
		{"5.2.1.3: min-fresh, not enough", "min-fresh=40", "max-age=60", 30 * time.Second, false, 200},
		{"5.2.1.1: max-age", "max-age=20", "max-age=60", 30 * time.Second, false, 200},
		{"5.2.1.1: max-age does not make fresh", "max-age=100", "max-age=60", 90 * time.Second, false, 200},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(says("old", "Cache-Control", tt.stored))
			e.get("/strict/a")
			e.clock.Advance(tt.after)
			e.upstreamSays(says("new", "Cache-Control", tt.stored))
			got := e.get("/strict/a", "Cache-Control", tt.control)
			if hit := got.body == "old"; hit != tt.hit || got.status != tt.status {
				t.Errorf("%d %q with Cache-Status %q", got.status, got.body, got.cacheStatus())
			}
			if !tt.hit && tt.status == 200 {
				e.expect("4: a 200 replaces a stale entry", e.get("/strict/a"), "new", "edge; hit; ttl=60")
			}
		})
	}
}

func TestRFC9111_4_3_2_ConditionsAreAnsweredFromTheStore(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("body", "Cache-Control", "max-age=60", "Etag", `W/"a"`, "Content-Type", "text/plain", "X-A", "1"))
	e.get("/strict/a")
	for value, want := range map[string]int{`*`: 304, `"b", W/"a"`: 304, `"a"`: 304, `"b"`: 200, `a`: 200} {
		for _, method := range []string{"GET", "HEAD"} {
			got := e.do(method, "/strict/a", "", "If-None-Match", value)
			if got.status != want {
				t.Errorf("If-None-Match: %s of a %s is answered %d", value, method, got.status)
			}
			if want == 304 && (got.header.Get("Etag") != `W/"a"` || got.header.Get("X-A") != "1" || got.header.Get("Content-Type") != "" || got.header.Get("Age") == "") {
				t.Errorf("RFC 9110, 15.4.5: the 304 has %v", got.header)
			}
		}
	}
	if n := e.asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestRFC5861_4_StaleIfErrorOfARequest(t *testing.T) {
	for stored, want := range map[string]string{"max-age=1": "good", "max-age=1, must-revalidate": "failed"} {
		e := newEdge(t, options{})
		e.upstreamSays(says("good", "Cache-Control", stored))
		e.get("/strict/a")
		e.clock.Advance(time.Minute)
		e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503); _, _ = io.WriteString(w, "failed") })
		if got := e.get("/strict/a", "Cache-Control", "stale-if-error=100"); got.body != want {
			t.Errorf("stored with %q: %d %q, want %q", stored, got.status, got.body, want)
		}
	}
}

func TestAStoredFailureIsNeverServedStale(t *testing.T) {
	for says, fails := range map[string]http.HandlerFunc{"after a closed connection": hijack(""), "while it is refreshed": says("new")} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=5, stale-while-revalidate=60, stale-if-error=60")
				w.WriteHeader(503)
				_, _ = io.WriteString(w, "stored failure")
			})
			e.get("/strict/a")
			e.expect("while it is fresh", e.get("/strict/a"), "stored failure", "edge; hit")
			e.clock.Advance(20 * time.Second)
			e.upstreamSays(fails)
			if got := e.get("/strict/a"); got.body == "stored failure" {
				t.Errorf("%d %q, %s", got.status, got.body, got.cacheStatus())
			}
		})
	}
}

func TestRFC9111_3_1_TrailersAreNotStored(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "1")
	})
	e.get("/strict/a")
	got := e.get("/strict/a")
	e.expect("a hit", got, "body", "edge; hit")
	if got.header.Get("X-Sum") != "" || got.header.Get("Trailer") != "" {
		t.Errorf("header %v", got.header)
	}
}

func TestRFC8297_HintsPassAndAreNotStored(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "body")
	})
	e.expect("the final response", e.get("/strict/a"), "body", "edge; fwd=uri-miss; fwd-status=200; stored")
	got := e.get("/strict/a")
	if e.expect("a hit", got, "body", "edge; hit"); got.header.Get("Link") != "" {
		t.Errorf("header %v", got.header)
	}
}

func TestRFC9211_2_MalformedStatusOfOtherCachesIsDropped(t *testing.T) {
	for upstream, want := range map[string]string{`inner; hit`: `[inner; hit edge; fwd=uri-miss; fwd-status=200; detail=no-lifetime]`, `inner; "`: `[edge; fwd=uri-miss; fwd-status=200; detail=no-lifetime]`} {
		e := newEdge(t, options{})
		e.upstreamSays(says("body", "Cache-Status", upstream))
		if got := fmt.Sprint(e.get("/strict/a").header["Cache-Status"]); got != want {
			t.Errorf("upstream %q: %s, want %s", upstream, got, want)
		}
	}
}

func TestRFC9110_9_3_3_APostThatAnotherWriteOvertakesIsNotStored(t *testing.T) {
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		gate.wait()
		says("overtaken", "Cache-Control", "max-age=60", "Content-Location", "/strict/a")(w, r)
	})
	done := make(chan struct{})
	go func() { defer close(done); e.do("POST", "/strict/a", "x") }()
	<-gate.arrived
	e.upstreamSays(says(""))
	e.do("DELETE", "/strict/a", "")
	gate.release()
	<-done
	e.exchange()
	e.upstreamSays(says("new"))
	e.expect("a GET", e.get("/strict/a"), "new", "edge; fwd=uri-miss")
}

func TestRFC9211_2_7_TheKeyIsShownToDebugAlone(t *testing.T) {
	keyOf := func(r reply) string {
		_, key, _ := strings.Cut(r.cacheStatus(), `; key="`)
		key, _, _ = strings.Cut(key, `"`)
		return key
	}
	e := newEdge(t, options{policy: strings.Replace(testPolicy, "cache: {max_object", "cache: {debug: true, max_object", 1)})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10"))
	miss := keyOf(e.get("/strict/a"))
	if miss == "" || keyOf(e.get("/strict/a")) != miss || keyOf(e.do("HEAD", "/strict/a", "")) != miss || keyOf(e.get("/strict/b")) == miss {
		t.Errorf("key %q, of a hit %q", miss, keyOf(e.get("/strict/a")))
	}
	e.clock.Advance(20 * time.Second)
	if got := e.get("/strict/a"); keyOf(got) != miss {
		t.Errorf("validated: %q", got.cacheStatus())
	}
	silent := newEdge(t, options{})
	silent.upstreamSays(says("a", "Cache-Control", "max-age=10"))
	for range 2 {
		got := silent.get("/strict/a", "Cache-Status", `edge; key="x"`, "Pragma", "debug", "X-Debug", "1")
		if strings.Contains(got.cacheStatus(), "key=") {
			t.Errorf("without debug: %q", got.cacheStatus())
		}
	}
}
