package cache_test

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

const longAgo = "Sun, 06 Nov 1994 08:49:37 GMT"

// TestRFC9111_WhatIsReused stores a response and asks again. Each row is named after the section
// that decides.
func TestRFC9111_WhatIsReused(t *testing.T) {
	for _, tt := range []struct {
		says     string
		status   int // 0: 200
		response []string
		first    []string // of the first request
		after    time.Duration
		second   []string // of the second
		hit      bool
	}{
		{says: "5.2.2.1 max-age", response: []string{"Cache-Control", "max-age=60"}, after: 59 * time.Second, hit: true},
		{says: "5.2.2.1 max-age, over", response: []string{"Cache-Control", "max-age=60"}, after: 60 * time.Second},
		{says: "5.2.2.10 s-maxage outweighs max-age", response: []string{"Cache-Control", "max-age=1, s-maxage=60"}, after: 30 * time.Second, hit: true},
		{says: "5.2.2.10 s-maxage, over", response: []string{"Cache-Control", "max-age=600, s-maxage=10"}, after: 30 * time.Second},
		{says: "5.3 Expires", response: []string{"Expires", "in a minute"}, after: 59 * time.Second, hit: true},
		{says: "5.3 Expires, over", response: []string{"Expires", "in a minute"}, after: 61 * time.Second},
		{says: "5.3 max-age outweighs Expires", response: []string{"Expires", longAgo, "Cache-Control", "max-age=60"}, hit: true},
		{says: "5.3 an invalid Expires is over", response: []string{"Expires", "0", "Etag", `"a"`}},
		{says: "4.2.2 a heuristic of Last-Modified", response: []string{"Last-Modified", longAgo}, after: time.Hour, hit: true},
		{says: "4.2.2 a heuristic, a day at most", response: []string{"Last-Modified", longAgo}, after: 25 * time.Hour},
		{says: "4.2.2 no heuristic for other statuses", status: 302, response: []string{"Last-Modified", longAgo}},
		{says: "4.2.2 public makes one possible", status: 302, response: []string{"Last-Modified", longAgo, "Cache-Control", "public"}, hit: true},
		{says: "5.1 Age counts", response: []string{"Cache-Control", "max-age=60", "Age", "50"}, after: 11 * time.Second},
		{says: "4.2.3 so does an old Date", response: []string{"Cache-Control", "max-age=60", "Date", longAgo}},
		{says: "5.2.2.4 no-cache", response: []string{"Cache-Control", "max-age=60, no-cache", "Etag", `"a"`}},
		{says: "5.2.2.4 no-cache of a field is stored without it", response: []string{"Cache-Control", `max-age=60, no-cache="x-own"`, "X-Own", "1"}, hit: true},
		{says: "5.2.2.5 no-store", response: []string{"Cache-Control", "max-age=60, no-store"}},
		{says: "5.2.2.7 private", response: []string{"Cache-Control", "max-age=60, private"}},
		{says: "5.2.2.7 private of a field is stored without it", response: []string{"Cache-Control", `max-age=60, private="X-Own"`, "X-Own", "1"}, hit: true},
		{says: "5.2.2.3 must-understand, and it does", response: []string{"Cache-Control", "max-age=60, must-understand, no-store"}, hit: true},
		{says: "5.2.2.3 must-understand, and it does not", status: 299, response: []string{"Cache-Control", "max-age=60, must-understand"}},
		{says: "3 a status with explicit freshness", status: 299, response: []string{"Cache-Control", "max-age=60"}, hit: true},
		{says: "3.5 Authorization", response: []string{"Cache-Control", "max-age=60"}, first: []string{"Authorization", "x"}},
		{says: "3.5 Authorization with public", response: []string{"Cache-Control", "max-age=60, public"}, first: []string{"Authorization", "x"}, hit: true},
		{says: "3.5 Authorization with must-revalidate", response: []string{"Cache-Control", "max-age=60, must-revalidate"}, first: []string{"Authorization", "x"}, hit: true},
		{says: "3.5 Authorization with s-maxage", response: []string{"Cache-Control", "s-maxage=60"}, first: []string{"Authorization", "x"}, hit: true},
		{says: "5.2.1.5 a request with no-store", response: []string{"Cache-Control", "max-age=60"}, first: []string{"Cache-Control", "no-store"}},
		{says: "5.2.1.4 a request with no-cache", response: []string{"Cache-Control", "max-age=60"}, second: []string{"Cache-Control", "no-cache"}},
		{says: "5.4 Pragma without Cache-Control", response: []string{"Cache-Control", "max-age=60"}, second: []string{"Pragma", "no-cache"}},
		{says: "5.4 Pragma beside Cache-Control", response: []string{"Cache-Control", "max-age=60"}, second: []string{"Pragma", "no-cache", "Cache-Control", "max-age=9"}, hit: true},
		{says: "5.4 Pragma of a response", response: []string{"Cache-Control", "max-age=60", "Pragma", "no-cache"}, hit: true},
		{says: "4.1 Vary, the same", response: []string{"Cache-Control", "max-age=60", "Vary", "X-A"}, first: []string{"X-A", "1"}, second: []string{"X-A", "1"}, hit: true},
		{says: "4.1 Vary, another", response: []string{"Cache-Control", "max-age=60", "Vary", "X-A"}, first: []string{"X-A", "1"}, second: []string{"X-A", "2"}},
		{says: "4.1 Vary, absent", response: []string{"Cache-Control", "max-age=60", "Vary", "X-A"}, first: []string{"X-A", "1"}},
		{says: "4.1 Vary: *", response: []string{"Cache-Control", "max-age=60", "Vary", "*"}},
		{says: "4.1 Accept-Encoding in another order", response: []string{"Cache-Control", "max-age=60", "Vary", "Accept-Encoding"}, first: []string{"Accept-Encoding", "gzip, br"}, second: []string{"Accept-Encoding", "BR,GZIP"}, hit: true},
		{says: "4.1 Accept-Language by weight", response: []string{"Cache-Control", "max-age=60", "Vary", "Accept-Language"}, first: []string{"Accept-Language", "de;q=0.5, en"}, second: []string{"Accept-Language", "en, de;q=0.50"}, hit: true},
		{says: "4.1 Accept-Language, other weights", response: []string{"Cache-Control", "max-age=60", "Vary", "Accept-Language"}, first: []string{"Accept-Language", "de;q=0.5, en"}, second: []string{"Accept-Language", "de, en;q=0.5"}},
		{says: "RFC 9213, 2.2 Surrogate-Control", response: []string{"Surrogate-Control", "max-age=60", "Cache-Control", "no-store"}, hit: true},
		{says: "RFC 9213, 2.2 the first of the list", response: []string{"Edge-Cache-Control", "max-age=60", "CDN-Cache-Control", "no-store"}, hit: true},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			answer := func(body string) {
				e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
					for i := 0; i < len(tt.response); i += 2 {
						value := tt.response[i+1]
						if value == "in a minute" {
							value = e.clock.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
						}
						w.Header().Set(tt.response[i], value)
					}
					w.WriteHeader(max(tt.status, 200))
					_, _ = io.WriteString(w, body)
				})
			}
			answer("first")
			e.get("/strict/a", tt.first...)
			e.clock.Advance(tt.after)
			answer("second")
			got := e.get("/strict/a", tt.second...)
			if hit := got.body == "first"; hit != tt.hit {
				t.Errorf("%d %q with Cache-Status %q", got.status, got.body, got.cacheStatus())
			}
			if tt.hit && got.header.Get("X-Own") != "" {
				t.Errorf("the field is there: %v", got.header)
			}
		})
	}
}

func TestRFC9111_4_2_4_WhatForbidsStale(t *testing.T) {
	for control, stale := range map[string]bool{
		"max-age=1": true, "max-age=1, must-revalidate": false, "max-age=1, proxy-revalidate": false, "s-maxage=1": false,
	} {
		e := newEdge(t, options{})
		e.upstreamSays(says("stored", "Cache-Control", control))
		e.get("/strict/a")
		e.clock.Advance(time.Minute)
		e.upstreamSays(hijack(""))
		if got := e.get("/strict/a"); (got.body == "stored") != stale || !stale && got.status < 500 {
			t.Errorf("5.2.2.2, 5.2.2.8, 5.2.2.10: %s, and the connection is closed: %d %q", control, got.status, got.body)
		}
	}
}

func TestRFC9111_4_3_4_A304Freshens(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10", "X-A", "1"))
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=100", "X-A", "2"))
	e.expect("validated", e.get("/strict/a"), `body of "v1"`, "edge; fwd=stale; fwd-status=304; stored")
	got := e.get("/strict/a")
	if e.expect("freshened", got, `body of "v1"`, "edge; hit; ttl=100"); got.header.Get("X-A") != "2" || got.header.Get("Age") != "0" {
		t.Errorf("3.2: header %v", got.header)
	}
}

func TestRFC9110_13_1_3_IfModifiedSince(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("body", "Cache-Control", "max-age=60", "Last-Modified", longAgo, "Etag", `"a"`))
	e.get("/strict/a")
	for says, tt := range map[string]struct {
		header []string
		status int
	}{
		"the same date":                {[]string{"If-Modified-Since", longAgo}, 304},
		"a later one":                  {[]string{"If-Modified-Since", "Mon, 07 Nov 1994 08:49:37 GMT"}, 304},
		"an earlier one":               {[]string{"If-Modified-Since", "Sat, 05 Nov 1994 08:49:37 GMT"}, 200},
		"none that is one":             {[]string{"If-Modified-Since", "yesterday"}, 200},
		"13.2.2: If-None-Match counts": {[]string{"If-Modified-Since", longAgo, "If-None-Match", `"b"`}, 200},
	} {
		if got := e.get("/strict/a", tt.header...); got.status != tt.status || got.header.Get("Age") == "" {
			t.Errorf("%s: %d", says, got.status)
		}
	}
	e.upstreamSays(says("body", "Cache-Control", "max-age=60"))
	made, err := http.ParseTime(e.get("/strict/b").header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	for since, status := range map[string]int{made.Format(http.TimeFormat): 304, made.Add(-time.Second).Format(http.TimeFormat): 200} {
		if got := e.get("/strict/b", "If-Modified-Since", since); got.status != status || !strings.HasPrefix(got.cacheStatus(), "edge; hit") {
			t.Errorf("RFC 9111, 4.3.2: Date stands for Last-Modified: %d for %s, %s", got.status, since, got.cacheStatus())
		}
	}
}

func TestRFC9110_13_1_1_PreconditionsAreTheOrigins(t *testing.T) {
	for _, header := range [][]string{{"If-Match", `"a"`}, {"If-Unmodified-Since", longAgo}} { // 13.1.4
		e := newEdge(t, options{})
		e.upstreamSays(says("stored", "Cache-Control", "max-age=60", "Etag", `"a"`))
		e.get("/strict/a")
		e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(header[0]) == header[1] {
				w.WriteHeader(http.StatusPreconditionFailed)
			}
		})
		if got := e.get("/strict/a", header...); got.status != 412 {
			t.Errorf("%v: %d, %s", header, got.status, got.cacheStatus())
		}
		e.expect("and the answer is not stored", e.get("/strict/a"), "stored", "edge; hit")
	}
}

func TestRFC5861_4_StaleIfErrorOnEachFailure(t *testing.T) {
	for says, fails := range map[string]http.HandlerFunc{
		"500": status(500), "502": status(502), "503": status(503), "504": status(504), "a closed connection": hijack(""),
		"half a header": hijack("HTTP/1.1 200 OK\r\nCache-"),
		"a timeout":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		for _, window := range []bool{true, false} {
			e := newEdge(t, options{patience: 300 * time.Millisecond})
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=5, stale-if-error=60")
				_, _ = io.WriteString(w, "stored")
			})
			e.get("/strict/a")
			e.clock.Advance(20 * time.Second)
			if !window {
				e.clock.Advance(2 * time.Minute)
			}
			e.upstreamSays(fails)
			if got := e.get("/strict/a"); (got.body == "stored") != window {
				t.Errorf("%s, within the window %v: %d %q", says, window, got.status, got.body)
			}
		}
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func TestRFC5861_3_StaleWhileRevalidateOfTheOrigin(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old", "Cache-Control", "max-age=5, stale-while-revalidate=30"))
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	e.upstreamSays(says("new", "Cache-Control", "max-age=5, stale-while-revalidate=30"))
	e.expect("within", e.get("/strict/a"), "old", "edge; hit; ttl=-15; detail=stale-while-revalidate")
	env.Until(e, "the refresh", func() bool { return e.get("/strict/a").body == "new" })
	e.clock.Advance(time.Minute)
	e.upstreamSays(says("newest"))
	e.expect("beyond", e.get("/strict/a"), "newest", "edge; fwd=stale; fwd-status=200")
}

func TestRFC9110_15_2_InterimResponsesPass(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProcessing)
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "body")
	})
	var got []int
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		got = append(got, code)
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, e.server.URL+"/strict/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if !slices.Equal(got, []int{102, 103}) {
		t.Errorf("102 and RFC 8297's 103: %v", got)
	}
}
