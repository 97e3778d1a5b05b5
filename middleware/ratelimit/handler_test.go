package ratelimit_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
)

const testPolicy = `
version: 1
upstreams:
  app: {targets: ["http://127.0.0.1:1"]}
limits:
  anonymous: {key: client_ip, when: anonymous, rate: 60/min, burst: 3}
  user: {key: session.user, when: session, rate: 60/min, burst: 5}
  pair: {key: [client_ip, "header:X-Key"], missing: skip, rate: 60/min, burst: 1}
  keyed: {key: "header:X-Key", missing: deny, rate: 60/min, burst: 1}
  fallback: {key: "header:X-Key", missing: client_ip, rate: 60/min, burst: 1}
  shadow: {key: client_ip, rate: 60/min, burst: 1, shadow: true}
  tight: {key: host, rate: 60/min, burst: 2}
  failures: {key: client_ip, rate: 60/min, burst: 2, statuses: [401]}
  flights: {key: client_ip, in_flight: 2}
  listed: {key: client_ip, rate: 60/min, burst: 1, allow: [192.0.2.0/24], deny: [198.51.100.0/24]}
  tiered:
    key: session.user
    missing: client_ip
    rate: 60/min
    burst: 2
    tiers: {premium: {rate: 60/min, burst: 4}, guest: {rate: 60/min, burst: 3}}
    overrides: [{key: "special", rate: 60/min, burst: 6}]
  posts: {key: client_ip, rate: 60/min, burst: 6, cost: {POST: 3}}
routes:
  - {name: both, match: {path: /both}, upstream: app, limits: [anonymous, user]}
  - {name: pair, match: {path: /pair}, upstream: app, limits: [pair]}
  - {name: keyed, match: {path: /keyed}, upstream: app, limits: [keyed]}
  - {name: fallback, match: {path: /fallback}, upstream: app, limits: [fallback]}
  - {name: shadow, match: {path: /shadow}, upstream: app, limits: [shadow]}
  - {name: two, match: {path: /two}, upstream: app, limits: [anonymous, tight]}
  - {name: failures, match: {path: /failures}, upstream: app, limits: [failures]}
  - {name: flights, match: {path: /flights}, upstream: app, limits: [flights]}
  - {name: listed, match: {path: /listed}, upstream: app, limits: [listed]}
  - {name: tiered, match: {path: /tiered}, upstream: app, limits: [tiered]}
  - {name: posts, match: {path: /posts}, upstream: app, limits: [posts]}
  - {name: free, match: {path: /free}, upstream: app}
`

// limiter is the layer over a store, with a clock that stands still.
type limiter struct {
	t        *testing.T
	snapshot *policy.Snapshot
	store    ratelimit.Store
	now      time.Time
	last     *exchange.Exchange
	status   int    // what the upstream answers
	during   func() // while it does
	wrap     middleware.Middleware
}

func newLimiter(t *testing.T) *limiter {
	t.Helper()
	return newLimiterOf(t, testPolicy)
}

// newLimiterOf is newLimiter with another policy.
func newLimiterOf(t *testing.T, text string) *limiter {
	t.Helper()
	snapshot, err := policy.Parse("test.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &limiter{t: t, snapshot: snapshot, status: http.StatusOK, now: time.Unix(1_700_000_000, 0)}
	l.store = ratelimit.New(ratelimit.Config{
		Local: ratelimit.NewTable(1000), Replicas: func() int { return 1 }, Now: func() time.Time { return l.now },
	})
	return l
}

func (l *limiter) get(path string, change ...func(*exchange.Exchange)) *http.Response {
	l.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	ex := &exchange.Exchange{Snapshot: l.snapshot, View: policy.View{
		Method: "GET", Host: "localhost", Path: path, Now: l.now, Header: r.Header, Client: netip.MustParseAddr("192.0.2.1"),
	}}
	for _, f := range change {
		f(ex)
	}
	ex.Route, ex.Params = l.snapshot.Match(&ex.View)
	l.last = ex
	w := httptest.NewRecorder()
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "the upstream's own")
		if l.during != nil {
			l.during()
		}
		w.WriteHeader(l.status)
	})
	if l.wrap == nil {
		l.wrap = ratelimit.Handler(ratelimit.HandlerConfig{Store: l.store})
	}
	l.wrap(next).ServeHTTP(w, r.WithContext(exchange.With(r.Context(), ex)))
	return w.Result()
}

func from(addr string) func(*exchange.Exchange) {
	return func(ex *exchange.Exchange) { ex.View.Client = netip.MustParseAddr(addr) }
}

func as(user string) func(*exchange.Exchange) {
	return func(ex *exchange.Exchange) { ex.Principal = exchange.Principal{SessionID: "s-" + user, User: user} }
}

func header(name, value string) func(*exchange.Exchange) {
	return func(ex *exchange.Exchange) { ex.View.Header.(http.Header).Set(name, value) }
}

// admitted sends n requests and counts those that pass.
func (l *limiter) admitted(n int, path string, change ...func(*exchange.Exchange)) int {
	l.t.Helper()
	passed := 0
	for range n {
		switch res := l.get(path, change...); res.StatusCode {
		case http.StatusOK:
			passed++
		case http.StatusTooManyRequests:
		default:
			l.t.Fatalf("status %s", res.Status)
		}
	}
	return passed
}

func TestWhoIsCountedTogether(t *testing.T) {
	for _, tc := range []struct {
		sentence string
		run      func(l *limiter) int
		want     int
	}{
		{"one address has one bucket", func(l *limiter) int { return l.admitted(10, "/both") }, 3},
		{"two addresses have two buckets", func(l *limiter) int {
			return l.admitted(10, "/both", from("192.0.2.1")) + l.admitted(10, "/both", from("192.0.2.2"))
		}, 6},
		{"an IPv6 network is one client", func(l *limiter) int {
			return l.admitted(10, "/both", from("2001:db8::1")) + l.admitted(10, "/both", from("2001:db8::2"))
		}, 3},
		{"another IPv6 network is another", func(l *limiter) int {
			return l.admitted(10, "/both", from("2001:db8::1")) + l.admitted(10, "/both", from("2001:db8:0:1::1"))
		}, 6},
		{"a user has the limit of users, from any address", func(l *limiter) int {
			return l.admitted(10, "/both", as("7"), from("192.0.2.1")) + l.admitted(10, "/both", as("7"), from("192.0.2.2"))
		}, 5},
		{"a guest's session has no user and no limit here", func(l *limiter) int {
			return l.admitted(10, "/both", func(ex *exchange.Exchange) { ex.Principal.SessionID = "guest" })
		}, 10},
		{"a combination is one key", func(l *limiter) int {
			return l.admitted(3, "/pair", header("X-Key", "a")) + l.admitted(3, "/pair", header("X-Key", "b"))
		}, 2},
		{"a request without the key is skipped", func(l *limiter) int { return l.admitted(5, "/pair") }, 5},
		{"a request without the key is counted by address where the policy says so", func(l *limiter) int { return l.admitted(5, "/fallback") }, 1},
		{"an address as a key is not the fallback's bucket", func(l *limiter) int {
			return l.admitted(5, "/fallback") + l.admitted(5, "/fallback", header("X-Key", "192.0.2.1"))
		}, 2},
		{"a shadow limit admits all", func(l *limiter) int { return l.admitted(5, "/shadow") }, 5},
		{"the tightest of several limits decides", func(l *limiter) int { return l.admitted(5, "/two") }, 2},
		{"a route without limits has none", func(l *limiter) int { return l.admitted(50, "/free") }, 50},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			if got := tc.run(newLimiter(t)); got != tc.want {
				t.Errorf("%d requests passed, want %d", got, tc.want)
			}
		})
	}
}

func method(m string) func(*exchange.Exchange) {
	return func(ex *exchange.Exchange) { ex.View.Method = m }
}

func withRole(user, role string) func(*exchange.Exchange) {
	return func(ex *exchange.Exchange) {
		ex.Principal = exchange.Principal{SessionID: "s-" + user, User: user, Roles: []string{role}}
	}
}

func TestWhatALimitGives(t *testing.T) {
	for _, tc := range []struct {
		sentence string
		run      func(l *limiter) int
		want     int
	}{
		{"a caller without a tier has the limit's own quota", func(l *limiter) int { return l.admitted(10, "/tiered", as("7")) }, 2},
		{"a role has its tier's quota", func(l *limiter) int { return l.admitted(10, "/tiered", withRole("7", "premium")) }, 4},
		{"a guest has the quota of guests, by address", func(l *limiter) int {
			return l.admitted(10, "/tiered", func(ex *exchange.Exchange) { ex.Principal.SessionID = "guest" })
		}, 3},
		{"a key with an override has that quota", func(l *limiter) int { return l.admitted(10, "/tiered", as("special")) }, 6},
		{"a method may cost more", func(l *limiter) int { return l.admitted(10, "/posts", method("POST")) }, 2},
		{"other methods cost one token", func(l *limiter) int { return l.admitted(10, "/posts") }, 6},
		{"an address on the allow list is not counted", func(l *limiter) int { return l.admitted(10, "/listed") }, 10},
		{"an address on no list is counted", func(l *limiter) int { return l.admitted(10, "/listed", from("203.0.113.1")) }, 1},
		{"a response that does not count returns its token", func(l *limiter) int { return l.admitted(10, "/failures") }, 10},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			if got := tc.run(newLimiter(t)); got != tc.want {
				t.Errorf("%d requests passed, want %d", got, tc.want)
			}
		})
	}
}

func TestADeniedAddressIsRefused(t *testing.T) {
	l := newLimiter(t)
	if res := l.get("/listed", from("198.51.100.7")); res.StatusCode != http.StatusForbidden {
		t.Errorf("status %s", res.Status)
	}
	if !l.last.Facts.Limited || l.last.Facts.Limit != "listed" {
		t.Errorf("facts %+v", l.last.Facts)
	}
}

func TestFailedAttemptsCount(t *testing.T) {
	l := newLimiter(t)
	l.status = http.StatusUnauthorized
	statuses := []int{}
	for range 4 {
		statuses = append(statuses, l.get("/failures").StatusCode)
	}
	if !slices.Equal(statuses, []int{401, 401, 429, 429}) {
		t.Errorf("statuses %v", statuses)
	}
}

// Concurrent attempts are limited as strictly as sequential ones.
func TestAttemptsInFlightCountUntilTheyAreAnswered(t *testing.T) {
	l := newLimiter(t)
	depth, refused := 0, 0
	l.during = func() {
		if depth++; depth < 5 {
			if l.get("/failures").StatusCode == http.StatusTooManyRequests {
				refused++
			}
		}
	}
	l.get("/failures")
	if depth != 2 || refused != 1 {
		t.Errorf("%d attempts at once, %d refused; the burst is 2", depth, refused)
	}
	l.during = nil
	if got := l.admitted(5, "/failures"); got != 5 {
		t.Errorf("%d of 5 passed after they were answered with 200", got)
	}
}

func TestRequestsInFlight(t *testing.T) {
	l := newLimiter(t)
	depth := 0
	var inner []int
	l.during = func() {
		if depth++; depth < 4 {
			res := l.get("/flights")
			inner = append(inner, res.StatusCode)
			if res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
			if other := l.get("/flights", from("192.0.2.9")); depth == 2 && other.StatusCode != http.StatusOK {
				t.Errorf("another client: %s", other.Status)
			}
		}
	}
	l.get("/flights")
	if !slices.Contains(inner, 429) || !slices.Contains(inner, 200) {
		t.Errorf("inner statuses %v: the second passes, the third does not", inner)
	}
	l.during = nil
	if got := l.admitted(5, "/flights"); got != 5 {
		t.Errorf("%d of 5 passed one after the other", got)
	}
}

func TestMissingKeyMayBeDenied(t *testing.T) {
	l := newLimiter(t)
	if res := l.get("/keyed"); res.StatusCode != http.StatusForbidden {
		t.Errorf("status %s", res.Status)
	}
	if l.last.Facts.Reason == "" || l.last.Facts.Limit != "keyed" {
		t.Errorf("facts %+v", l.last.Facts)
	}
}

func TestLongKeysAreHashedAndStayApart(t *testing.T) {
	l := newLimiter(t)
	long := string(slices.Repeat([]byte("k"), 5000))
	if got := l.admitted(3, "/keyed", header("X-Key", long+"1")) + l.admitted(3, "/keyed", header("X-Key", long+"2")); got != 2 {
		t.Errorf("%d requests passed, want one for each key", got)
	}
}

func TestHeaders(t *testing.T) {
	l := newLimiter(t)
	expect := func(res *http.Response, want map[string]string) {
		t.Helper()
		for name, v := range want {
			if got := res.Header.Values(name); len(got) != 1 || got[0] != v {
				t.Errorf("%s: %q, want %q", name, got, v)
			}
		}
	}
	expect(l.get("/both"), map[string]string{
		"RateLimit-Policy": `"anonymous";q=3;w=3`, "RateLimit": `"anonymous";r=2;t=1`,
		"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "2", "X-RateLimit-Reset": "1700000001",
	})
	expect(l.get("/two"), map[string]string{
		"RateLimit-Policy": `"anonymous";q=3;w=3, "tight";q=2;w=2`, "RateLimit": `"anonymous";r=1;t=2, "tight";r=1;t=1`,
		"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "1",
	})
	l.get("/both")
	l.now = l.now.Add(300 * time.Millisecond)
	res := l.get("/both")
	expect(res, map[string]string{"Retry-After": "1", "RateLimit": `"anonymous";r=0;t=1`, "X-RateLimit-Remaining": "0", "Cache-Control": "no-store"})
	var doc struct {
		Type     string
		Status   int
		Violated []string `json:"violated-policies"`
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.Status != 429 || !slices.Equal(doc.Violated, []string{"anonymous"}) || doc.Type == "about:blank" {
		t.Errorf("problem %+v", doc)
	}
	l.now = l.now.Add(time.Second) // Retry-After has passed
	if res := l.get("/both"); res.StatusCode != http.StatusOK {
		t.Errorf("after Retry-After: %s", res.Status)
	}
	if res := l.get("/free"); res.Header.Get("RateLimit") != "" {
		t.Error("a route without limits has rate-limit fields")
	}
}

// broken is a Store that always fails.
type broken struct{}

func (broken) Take(context.Context, []ratelimit.Charge, []gcra.Result) ([]gcra.Result, error) {
	return nil, errors.New("broken")
}

func (broken) Refund(context.Context, []ratelimit.Charge) error { return errors.New("broken") }

func TestAStoreThatFailsAdmits(t *testing.T) {
	l := newLimiter(t)
	l.store = broken{}
	if got := l.admitted(10, "/both"); got != 10 {
		t.Errorf("%d of 10 passed", got)
	}
	if l.last.Facts.Reason == "" {
		t.Error("the log does not say so")
	}
}

func TestVersionsOfTheHeaders(t *testing.T) {
	all := []string{"RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "X-RateLimit-Remaining"}
	for _, tt := range []struct {
		ietf   string
		legacy bool
		want   map[string]string
	}{
		{"draft-10", false, map[string]string{"RateLimit": `"anonymous";r=2;t=1`, "RateLimit-Policy": `"anonymous";q=3;w=3`}},
		{"draft-07", false, map[string]string{"RateLimit": "limit=3, remaining=2, reset=1", "RateLimit-Policy": "3;w=3"}},
		{"draft-06", false, map[string]string{"RateLimit-Limit": "3", "RateLimit-Remaining": "2", "RateLimit-Reset": "1", "RateLimit-Policy": "3;w=3"}},
		{"off", true, map[string]string{"X-RateLimit-Remaining": "2"}},
		{"off", false, nil},
	} {
		l := newLimiter(t)
		h := &l.snapshot.Policy.RateLimit.Headers
		h.IETF, h.Legacy = tt.ietf, tt.legacy
		header := l.get("/both").Header
		for _, name := range all {
			if got := header.Get(name); got != tt.want[name] {
				t.Errorf("%s, legacy %v: %s: %q, want %q", tt.ietf, tt.legacy, name, got, tt.want[name])
			}
		}
	}
}
