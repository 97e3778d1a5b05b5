package cache_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/env"
)

// onePolicy has one cached route, /a, with this cache section.
func onePolicy(section string) options {
	return options{policy: `
version: 1
upstreams: {up: {targets: ["http://127.0.0.1:1"]}}
cache: {default_ttl: 20s}
routes:
  - {name: a, match: {path: "/a"}, upstream: up, session: optional, cache: ` + section + `}
`}
}

// answers responds with a status, and headers given as alternating names and values; the body is
// the number of the request.
func (e *edge) answers(status int, header ...string) {
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = fmt.Fprint(w, e.asked.Load())
		}
	})
}

func TestLifetimesByStatus(t *testing.T) {
	const byStatus = `{ttl: 300s, statuses: {404: 10s, 410: 0s, 302: 1m, 4xx: 3s, 5xx: 5s, 501: 2s}, query: {ttl: {now: 4s}}}`
	const fresh = "max-age=600"
	for _, tt := range []struct {
		says    string
		section string
		status  int
		path    string   // "": /a
		header  []string // of the response
		request []string
		ttl     string // "": not stored
	}{
		{says: "no lifetime of its own", status: 200, ttl: "300"},
		{says: "a status", status: 404, ttl: "10"},
		{says: "a status that is not cached by default", status: 302, ttl: "60"},
		{says: "a class", status: 403, ttl: "3"},
		{says: "a failure", status: 503, ttl: "5"},
		{says: "a status overrides its class", status: 501, ttl: "2"},
		{says: "a parameter shortens it", status: 404, path: "/a?now=1", ttl: "4"},
		{says: "a parameter never lengthens it", status: 501, path: "/a?now=1", ttl: "2"},
		{says: "0s is not stored", status: 410},
		{says: "0s is not stored, even if the origin allows it", status: 410, header: []string{"Cache-Control", fresh}},
		{says: "the lifetime is this edge's", status: 404, header: []string{"Cache-Control", "max-age=0"}, ttl: "10"},
		{says: "it overrides the origin's", status: 503, header: []string{"Cache-Control", fresh}, ttl: "5"},
		{says: "private overrides it", status: 404, header: []string{"Cache-Control", "private"}},
		{says: "no-store overrides it", status: 503, header: []string{"Cache-Control", "no-store"}},
		{says: "Set-Cookie overrides it", status: 404, header: []string{"Set-Cookie", "a=b"}},
		{says: "Vary: * overrides it", status: 404, header: []string{"Vary", "*"}},
		{says: "Authorization overrides it", status: 404, request: []string{"Authorization", "Bearer x"}},
		{says: "Authorization overrides it after an empty line too", status: 404, request: []string{"Authorization", "", "Authorization", "Bearer x"}},
		{says: "a class does not cover a 400", status: 400},
		{says: "a 413 is not stored", status: 413},
		{says: "a 414 is not stored", status: 414},
		{says: "a 429 is not stored", status: 429, header: []string{"Cache-Control", fresh}},
		{says: "a 431 is not stored", status: 431, header: []string{"Cache-Control", fresh}},
		{says: "a 412 is not stored", status: 412, header: []string{"Cache-Control", fresh}},
		{says: "a 416 is not stored", status: 416, header: []string{"Cache-Control", fresh}},
		{says: "a 511 is not stored", status: 511, header: []string{"Cache-Control", fresh}},
		{says: "failures have no lifetime by default", section: "{ttl: 300s}", status: 503},
		{says: "RFC 6585, 4: no cache stores a 429", section: "{mode: strict}", status: 429, header: []string{"Cache-Control", fresh}},
		{says: "RFC 6585, 3: a 428 is not stored", section: "{mode: strict}", status: 428, header: []string{"Cache-Control", fresh}},
		{says: "RFC 6585, 6: a 511 is not stored", section: "{mode: strict}", status: 511, header: []string{"Cache-Control", fresh}},
		{says: "default_ttl, without a ttl", section: "{}", status: 200, ttl: "20"},
		{says: "default_ttl for a 404", section: "{}", status: 404, ttl: "20"},
		{says: "default_ttl does not override the origin's lifetime", section: "{}", status: 200, header: []string{"Cache-Control", "max-age=7"}, ttl: "7"},
		{says: "default_ttl does not override a ttl", section: "{ttl: 30s}", status: 200, ttl: "30"},
		{says: "default_ttl beside statuses", section: "{statuses: {404: 1s}}", status: 200, ttl: "20"},
		{says: "default_ttl does not apply to strict mode", section: "{mode: strict}", status: 200},
		{says: "default_ttl does not apply to failures", section: "{}", status: 500},
	} {
		t.Run(tt.says, func(t *testing.T) {
			if tt.section == "" {
				tt.section = byStatus
			}
			if tt.path == "" {
				tt.path = "/a"
			}
			e := newEdge(t, onePolicy(tt.section))
			e.answers(tt.status, tt.header...)
			first := e.get(tt.path, tt.request...)
			second := e.get(tt.path)
			if first.status != tt.status || second.status != tt.status {
				t.Fatalf("%d, then %d", first.status, second.status)
			}
			if tt.ttl == "" {
				e.expect("not stored", second, "2", "edge; fwd=uri-miss")
				if strings.Contains(first.cacheStatus(), "stored") {
					t.Errorf("Cache-Status %q of a response that is not stored", first.cacheStatus())
				}
				return
			}
			e.expect("stored", second, "1", "edge; hit; ttl="+tt.ttl)
		})
	}
}

func TestAPartLivesAsLongAsItsWhole(t *testing.T) {
	e := newEdge(t, onePolicy(`{ttl: 300s, statuses: {200: 10s}}`))
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
	})
	e.get("/a", "Range", "bytes=0-3")
	e.expect("a part", e.get("/a", "Range", "bytes=1-2"), "12", "edge; hit; ttl=10")
}

// TestAFailureTakesNobodysPlace checks that a failure with a lifetime in the policy does not
// replace an entry that may still be served.
func TestAFailureTakesNobodysPlace(t *testing.T) {
	const section = `{ttl: 60s, statuses: {5xx: 5s}, stale_if_error: 10m}`
	for _, tt := range []struct {
		says    string
		section string
		after   time.Duration
		status  int
		request []string
		stored  bool // the failure
	}{
		{says: "fresh, but the client wants it validated", section: section, status: 503, request: []string{"Cache-Control", "no-cache"}},
		{says: "stale within stale_if_error, but not a failure in its sense", section: section, after: 5 * time.Minute, status: 501},
		{says: "stale within stale_if_error, but the client wants it validated", section: section, after: 5 * time.Minute, status: 503, request: []string{"Cache-Control", "no-cache"}},
		{says: "past stale_if_error", section: section, after: 12 * time.Minute, status: 503, stored: true},
		{says: "without stale_if_error", section: `{ttl: 60s, statuses: {5xx: 5s}}`, after: 2 * time.Minute, status: 503, stored: true},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, onePolicy(tt.section))
			e.upstreamSays(says("good"))
			e.get("/a")
			e.clock.Advance(tt.after)
			e.answers(tt.status)
			failure := e.get("/a", tt.request...)
			if failed := failure.status == tt.status; failed && strings.Contains(failure.cacheStatus(), "stored") != tt.stored {
				t.Errorf("the failure: Cache-Status %q; stored: %v", failure.cacheStatus(), tt.stored)
			}
			e.upstreamSays(hijack("")) // only the store can answer
			got := e.get("/a", "Cache-Control", "max-stale")
			if tt.stored {
				e.expect("the failure is stored", got, "2", "edge; hit; ttl=5")
			} else if got.status != http.StatusOK || got.body != "good" {
				t.Errorf("then %d %q; Cache-Status %q", got.status, got.body, got.cacheStatus())
			}
		})
	}
}

func TestAFailureTakesNobodysPlaceWithoutMemory(t *testing.T) {
	e, _ := newGateway(t, env.Redis(t).URL)
	e.tiers.Local = nil
	e.upstreamSays(says("good", "Cache-Control", "max-age=60"))
	e.get("/strict/a")
	stored := func() bool { return strings.HasPrefix(e.get("/strict/a").cacheStatus(), "edge; hit") }
	env.Until(e, "a hit", stored)
	e.answers(http.StatusServiceUnavailable, "Cache-Control", "max-age=60")
	if failure := e.get("/strict/a", "Cache-Control", "no-cache"); strings.Contains(failure.cacheStatus(), "stored") {
		t.Errorf("the failure: Cache-Status %q", failure.cacheStatus())
	}
	e.exchange() // it has ended
	if got := e.get("/strict/a"); got.body != "good" {
		t.Errorf("then %d %q with Cache-Status %q", got.status, got.body, got.cacheStatus())
	}
}

func TestAFailedRefreshKeepsWhatMayBeServed(t *testing.T) {
	e := newEdge(t, onePolicy(`{ttl: 60s, statuses: {5xx: 5s}, stale_while_revalidate: 10m}`))
	e.upstreamSays(says("good"))
	e.get("/a")
	e.clock.Advance(2 * time.Minute)
	e.answers(http.StatusServiceUnavailable)
	for round := int64(2); round < 5; round++ {
		e.clock.Advance(31 * time.Second) // past the pause after a failure
		e.expect("stale", e.get("/a"), "good", "edge; hit; ttl=-")
		env.Until(e, "the refresh", func() bool { e.get("/a"); return e.asked.Load() >= round })
		e.cache.Settle() // or the next pause would begin after the clock has moved
	}
}

// A failure that was slower than a good response to another client.
func TestALateFailureTakesNobodysPlace(t *testing.T) {
	e := newEdge(t, onePolicy(`{ttl: 60s, statuses: {5xx: 5s}, vary: [X-A]}`))
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = http.NewResponseController(w).Flush()
		gate.wait()
	})
	failed := make(chan reply, 1)
	go func() { failed <- e.get("/a") }()
	<-gate.arrived
	e.upstreamSays(says("good"))
	e.expect("meanwhile", e.get("/a", "Cache-Control", "no-cache"), "good", "edge; fwd=")
	gate.release()
	<-failed
	e.exchange() // it has ended
	e.expect("after it", e.get("/a"), "good", "edge; hit")
}

func TestBypass(t *testing.T) {
	const section = `{ttl: 60s, bypass: ["header:X-Preview", "cookie:token", session]}`
	for _, tt := range []struct {
		says   string
		header []string
		detail string // "": no bypass
	}{
		{"nothing", nil, ""},
		{"another header", []string{"X-Previews", "1"}, ""},
		{"another cookie", []string{"Cookie", "tokens=1; xtoken=2"}, ""},
		{"the header", []string{"X-Preview", "1"}, "header:X-Preview"},
		{"the header, empty", []string{"X-Preview", ""}, "header:X-Preview"},
		{"the cookie", []string{"Cookie", "a=1; token=2"}, "cookie:token"},
		{"the cookie in a second line", []string{"Cookie", "a=1", "Cookie", "token=2"}, "cookie:token"},
		{"the cookie, empty", []string{"Cookie", "token="}, "cookie:token"},
		{"a session", []string{"X-Test-Session", "s"}, "session"},
		{"Authorization", []string{"Authorization", "Bearer x"}, "Authorization"},
		{"Authorization, after an empty line of it", []string{"Authorization", "", "Authorization", "Bearer x"}, "Authorization"},
		{"a precondition", []string{"If-Match", `"x"`}, "If-Match"},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, onePolicy(section))
			e.answers(http.StatusOK)
			e.get("/a")
			got := e.get("/a", tt.header...)
			if tt.detail == "" {
				e.expect("no bypass", got, "1", "edge; hit")
				return
			}
			e.expect("a bypass", got, "2", "edge; fwd=bypass; fwd-status=200; detail="+tt.detail)
			if facts := e.exchange().Facts; facts.Cache != "bypass" {
				t.Errorf("Facts.Cache = %q", facts.Cache)
			}
			e.expect("it stored nothing", e.get("/a"), "1", "edge; hit")
		})
	}
}

func TestWhereTheUpstreamMayLogInNothingIsStored(t *testing.T) {
	o := onePolicy(`{ttl: 60s}`)
	o.policy = strings.Replace(o.policy, "session: optional", "session: optional, session_signal: true", 1)
	e := newEdge(t, o)
	e.answers(http.StatusOK)
	e.get("/a")
	e.expect("a second GET", e.get("/a"), "2", "edge; fwd=bypass; fwd-status=200; detail=session_signal")
}

func TestQueryRules(t *testing.T) {
	for _, tt := range []struct {
		says, section, first, second string
		sent                         string // with the first
		same                         bool
	}{
		{"denied parameters do not count", `{deny: [utm, fbclid]}`, "utm=1&b=2&a=1", "a=1&b=2&fbclid=x", "a=1&b=2", true},
		{"an encoded name is the same name", `{deny: [utm]}`, "u%74m=1&a=1", "a=1", "a=1", true},
		{"nothing is allowed", `{allow: []}`, "a=1", "b=2", "", true},
		{"the order does not count", `{}`, "b=2&a=1", "a=1&b=2", "a=1&b=2", true},
		{"the order of repetitions counts", `{}`, "a=1&a=2", "a=2&a=1", "a=1&a=2", false},
		{"unsorted, the order counts", `{sort: false}`, "b=2&a=1", "a=1&b=2", "b=2&a=1", false},
		{"unsorted, denied parameters do not count", `{sort: false, deny: [utm]}`, "b=2&utm=1&a=1", "b=2&a=1", "b=2&a=1", true},
		{"rounded", `{round: {lat: 2}}`, "lat=40.7128&n=1.005", "n=1.005&lat=40.7101", "lat=40.71&n=1.005", true},
		{"across the edge of rounding", `{round: {lat: 2}}`, "lat=40.7149", "lat=40.7151", "lat=40.71", false},
		{"an encoded separator does not start a parameter", `{}`, "a=1%26b=2", "a=1&b=2", "a=1%26b%3D2", false},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, onePolicy(`{ttl: 60s, query: `+tt.section+`}`))
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.RawQuery) })
			e.expect("first", e.get("/a?"+tt.first), tt.sent, "edge; fwd=uri-miss; fwd-status=200; stored")
			if second := e.get("/a?" + tt.second); strings.HasPrefix(second.cacheStatus(), "edge; hit") != tt.same {
				t.Errorf("second: %q with Cache-Status %q; same: %v", second.body, second.cacheStatus(), tt.same)
			}
		})
	}
}

// TestWhatAKeyTellsApart asks twice. The response has no Vary.
func TestWhatAKeyTellsApart(t *testing.T) {
	const byHeader, byCookie, byBoth = `key: ["header:X-A"]`, `key: ["cookie:lang"]`, `key: ["header:X-A", "header:X-B"]`
	for _, tt := range []struct {
		says, section string
		first, second []string
		same          bool
	}{
		{"the same header", byHeader, []string{"X-A", "1"}, []string{"X-A", "1", "X-B", "2"}, true},
		{"another value", byHeader, []string{"X-A", "1"}, []string{"X-A", "2"}, false},
		{"another case: values are compared as they are", byHeader, []string{"X-A", "a"}, []string{"X-A", "A"}, false},
		{"an empty header is not an absent one", byHeader, []string{"X-A", ""}, nil, false},
		{"two lines are not one", byHeader, []string{"X-A", "1", "X-A", "2"}, []string{"X-A", "1, 2"}, false},
		{"the order of lines counts", byHeader, []string{"X-A", "1", "X-A", "2"}, []string{"X-A", "2", "X-A", "1"}, false},
		{"values do not run into each other", byBoth, []string{"X-A", "12", "X-B", "3"}, []string{"X-A", "1", "X-B", "23"}, false},
		{"lines do not run into values", byBoth, []string{"X-A", "1", "X-A", "2"}, []string{"X-A", "1", "X-B", "2"}, false},
		{"the same cookie among others", byCookie, []string{"Cookie", "a=1; lang=he"}, []string{"Cookie", "lang=he; b=2"}, true},
		{"another cookie", byCookie, []string{"Cookie", "lang=he"}, []string{"Cookie", "lang=en"}, false},
		{"a cookie that is empty is not absent", byCookie, []string{"Cookie", "lang="}, []string{"Cookie", "a=1"}, false},
		{"the first of two cookies counts", byCookie, []string{"Cookie", "lang=he; lang=en"}, []string{"Cookie", "lang=en; lang=he"}, false},
		{"the second of two cookies counts", byCookie, []string{"Cookie", "lang=he; lang=en"}, []string{"Cookie", "lang=he"}, false},
		{"vary, the same but for white space", `vary: [X-A]`, []string{"X-A", "1,2"}, []string{"X-A", "1 , 2"}, true},
		{"vary, in two lines", `vary: [X-A]`, []string{"X-A", "1, 2"}, []string{"X-A", "1", "X-A", "2"}, true},
		{"vary, another value", `vary: [X-A]`, []string{"X-A", "1"}, []string{"X-A", "2"}, false},
		{"vary, empty is not absent", `vary: [X-A]`, []string{"X-A", ""}, nil, false},
		{"vary, equivalent lists of languages", `vary: [Accept-Language]`, []string{"Accept-Language", "he;q=0.9, en"}, []string{"Accept-Language", "EN,he;q=0.90"}, true},
		{"vary, other weights", `vary: [Accept-Language]`, []string{"Accept-Language", "he, en;q=0.9"}, []string{"Accept-Language", "en, he;q=0.9"}, false},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, onePolicy(`{ttl: 60s, `+tt.section+`}`))
			e.answers(http.StatusOK)
			e.get("/a", tt.first...)
			second := e.get("/a", tt.second...)
			if (second.body == "1") != tt.same {
				t.Errorf("%q with Cache-Status %q; same: %v", second.body, second.cacheStatus(), tt.same)
			}
			e.expect("the first is still there", e.get("/a", tt.first...), "1", "edge; hit")
		})
	}
}

func TestAPathDoesNotRunIntoItsQuery(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, r.URL.RequestURI())
	})
	for _, path := range []string{"/strict/ab=1", "/strict/a?b=1", "/strict/a?b%3D1"} {
		e.expect(path, e.get(path), path, "edge; fwd=uri-miss")
	}
}

// A policy that keys another field finds nothing that the old one stored, although the values are
// the same.
func TestAKeyIsOfItsPolicy(t *testing.T) {
	clock := env.NewClock(time.Now().Truncate(time.Second))
	shared := memory.NewCache(1<<20, clock.Now)
	for _, section := range []string{`key: ["header:X-A"]`, `key: ["header:X-B"]`, `vary: [X-A]`, `vary: [X-B]`, `key: ["cookie:X-A"]`, `key: []`} {
		o := onePolicy(`{ttl: 60s, ` + section + `}`)
		o.clock, o.tiers = clock, func(tiers *cache.Tiers) { tiers.Local = shared }
		e := newEdge(t, o)
		e.upstreamSays(says("body"))
		e.expect(section, e.get("/a", "X-A", "1", "X-B", "1", "Cookie", "X-A=1"), "body", "edge; fwd=uri-miss")
	}
}

// A stream is live. Stored at its end, it would answer the next client at once.
func TestWhatNeverEndsIsNotStored(t *testing.T) {
	for _, contentType := range []string{
		"text/event-stream", "Text/Event-Stream ; charset=utf-8", "multipart/x-mixed-replace; boundary=x", "application/grpc+proto",
	} {
		for _, path := range []string{"/list", "/strict/events"} {
			e := newEdge(t, options{})
			e.upstreamSays(says("data: 1\n\n", "Content-Type", contentType, "Cache-Control", "max-age=300", "ETag", `"1"`))
			e.get(path)
			e.expect(contentType+" of "+path, e.get(path), "data: 1\n\n", "edge; fwd=uri-miss; fwd-status=200")
			if e.asked.Load() != 2 {
				t.Errorf("%s of %s was stored", contentType, path)
			}
		}
	}
}
