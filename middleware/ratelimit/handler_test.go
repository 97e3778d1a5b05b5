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
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/memory"
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
routes:
  - {name: both, match: {path: /both}, upstream: app, limits: [anonymous, user]}
  - {name: pair, match: {path: /pair}, upstream: app, limits: [pair]}
  - {name: keyed, match: {path: /keyed}, upstream: app, limits: [keyed]}
  - {name: fallback, match: {path: /fallback}, upstream: app, limits: [fallback]}
  - {name: shadow, match: {path: /shadow}, upstream: app, limits: [shadow]}
  - {name: two, match: {path: /two}, upstream: app, limits: [anonymous, tight]}
  - {name: free, match: {path: /free}, upstream: app}
`

// limiter is the layer over a store, on a clock that stands still.
type limiter struct {
	t        *testing.T
	snapshot *policy.Snapshot
	store    ratelimit.Store
	now      time.Time
	last     *exchange.Exchange
}

func newLimiter(t *testing.T) *limiter {
	t.Helper()
	snapshot, err := policy.Parse("test.yaml", []byte(testPolicy), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &limiter{t: t, snapshot: snapshot, now: time.Unix(1_700_000_000, 0)}
	l.store = memory.NewLimits(1000, func() time.Time { return l.now })
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
		w.WriteHeader(http.StatusOK)
	})
	ratelimit.Handler(l.store)(next).ServeHTTP(w, r.WithContext(exchange.With(r.Context(), ex)))
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
		{"two addresses have two", func(l *limiter) int {
			return l.admitted(10, "/both", from("192.0.2.1")) + l.admitted(10, "/both", from("192.0.2.2"))
		}, 6},
		{"an IPv6 network is one client", func(l *limiter) int {
			return l.admitted(10, "/both", from("2001:db8::1")) + l.admitted(10, "/both", from("2001:db8::2"))
		}, 3},
		{"another IPv6 network is another", func(l *limiter) int {
			return l.admitted(10, "/both", from("2001:db8::1")) + l.admitted(10, "/both", from("2001:db8:0:1::1"))
		}, 6},
		{"a user has the limit of users, wherever he is", func(l *limiter) int {
			return l.admitted(10, "/both", as("7"), from("192.0.2.1")) + l.admitted(10, "/both", as("7"), from("192.0.2.2"))
		}, 5},
		{"a guest's session has no user and no limit here", func(l *limiter) int {
			return l.admitted(10, "/both", func(ex *exchange.Exchange) { ex.Principal.SessionID = "guest" })
		}, 10},
		{"a combination is one key", func(l *limiter) int {
			return l.admitted(3, "/pair", header("X-Key", "a")) + l.admitted(3, "/pair", header("X-Key", "b"))
		}, 2},
		{"a request without the key is skipped", func(l *limiter) int { return l.admitted(5, "/pair") }, 5},
		{"or counted by address where the policy says so", func(l *limiter) int { return l.admitted(5, "/fallback") }, 1},
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
		t.Error("a route without limits speaks of one")
	}
}

// broken is a Store that knows nothing.
type broken struct{}

func (broken) Take(context.Context, []ratelimit.Charge) ([]gcra.Result, error) {
	return nil, errors.New("broken")
}

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

// upOrDown is a Switch in that state.
func upOrDown(t *testing.T, up bool) *failover.Switch {
	t.Helper()
	s := failover.New(failover.Config{
		Probe: func(context.Context) (failover.Epoch, error) {
			if up {
				return failover.Epoch{}, nil
			}
			return failover.Epoch{}, errors.New("refused")
		},
		Classify: func(err error) failover.Kind {
			if err == nil {
				return failover.Answer
			}
			return failover.Timeout
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-s.Probed()
	if s.Up() != up {
		t.Fatalf("the switch is %v", s.Status())
	}
	return s
}

func one() int { return 1 }

func TestFailoverDecidesLocallyByShare(t *testing.T) {
	l := newLimiter(t)
	l.store = &ratelimit.Failover{Switch: upOrDown(t, false), Remote: broken{}, Local: l.store, Replicas: func() int { return 2 }}
	if got := l.admitted(10, "/both", as("7")); got != 2 {
		t.Errorf("%d passed; half of a burst of 5 is 2", got)
	}
	if !l.last.Facts.Local {
		t.Error("the log does not say that it was decided locally")
	}
	if got := l.admitted(10, "/keyed", header("X-Key", "v")); got != 1 {
		t.Errorf("%d passed; a share is never below one", got)
	}
}

// sometimes is a remote Store that answers every second call.
type sometimes struct {
	ratelimit.Store
	calls int
}

func (s *sometimes) Take(ctx context.Context, charges []ratelimit.Charge) ([]gcra.Result, error) {
	if s.calls++; s.calls%2 == 0 {
		return nil, errors.New("late")
	}
	return s.Store.Take(ctx, charges)
}

func TestOneGatewayHoldsTheLimitHoweverOftenRedisIsLate(t *testing.T) {
	l := newLimiter(t)
	remote := &sometimes{Store: memory.NewLimits(1000, func() time.Time { return l.now })}
	l.store = &ratelimit.Failover{Switch: upOrDown(t, true), Remote: remote, Local: l.store, Replicas: one}
	if got := l.admitted(20, "/both", as("7")); got != 5 {
		t.Errorf("%d passed, the burst is 5", got)
	}
	if remote.calls != 5 {
		t.Errorf("the remote store was asked %d times; what is refused here needs no asking", remote.calls)
	}
}

func TestWhatRedisRefusesIsNotCountedHere(t *testing.T) {
	l := newLimiter(t)
	local := l.store
	remote := memory.NewLimits(1000, func() time.Time { return l.now })
	l.store = remote
	l.admitted(5, "/both", as("7")) // through another gateway
	l.store = &ratelimit.Failover{Switch: upOrDown(t, true), Remote: remote, Local: local, Replicas: one}
	if got := l.admitted(50, "/both", as("7")); got != 0 {
		t.Errorf("%d passed though the burst was taken elsewhere", got)
	}
	l.now = l.now.Add(2 * time.Second)
	if got := l.admitted(50, "/both", as("7")); got != 2 {
		t.Errorf("%d passed after two seconds, want 2", got)
	}
}
