package cache_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

const (
	// propertySteps is how many requests one run makes, and propertyRuns how many runs there are:
	// -rapid.checks makes more.
	propertySteps = 1000
	propertyRuns  = 25
	// maxFlying bounds concurrent requests.
	maxFlying = 5
)

// TestNothingIsServedWithoutARight sends random requests of three clients through a cache with a
// random origin, some of them while others wait for the origin. It compares each response with what
// the origin said: whether it is complete and of the right resource and variant, whether it is
// fresh or may be stale, whether it is older than a write before the request, and whose cookie it
// carries. -rapid.seed changes the requests.
func TestNothingIsServedWithoutARight(t *testing.T) {
	steps, hits, waited := 0, 0, 0
	property(t, func(t *rapid.T) {
		w := newWorld(t, testPolicy, nil)
		if fault := w.run(t); fault != "" {
			t.Fatal(fault)
		}
		steps, hits, waited = steps+w.steps, hits+w.hits, waited+w.waited
	})
	t.Logf("%d requests, %d of them answered from the store, %d not at once", steps, hits, waited)
	if least := propertyRuns * propertySteps; steps < least || hits < steps/10 || waited < steps/20 {
		t.Errorf("too few requests were tested, want %d", least)
	}
}

// TestTheRightsSeeMutations plants bugs, and checks that the test above detects them.
func TestTheRightsSeeMutations(t *testing.T) {
	for _, tt := range []struct {
		says   string
		policy string
		store  func(cache.LocalStore) cache.LocalStore
		seen   string
	}{
		{says: "freshness is ignored", policy: testPolicy, store: func(s cache.LocalStore) cache.LocalStore { return immortal{s} }, seen: "nothing gives the right"},
		{says: "Vary is ignored", policy: testPolicy, store: func(s cache.LocalStore) cache.LocalStore { return blind{s} }, seen: "another variant"},
		{says: "cookies are stored", policy: strings.Replace(testPolicy, "cache: {", "cache: {store_set_cookie: true, ", 1), seen: "cookie"},
		{says: "purges are ignored", policy: testPolicy, store: func(s cache.LocalStore) cache.LocalStore { return unpurged{s} }, seen: "nothing gives the right"},
	} {
		t.Run(tt.says, func(t *testing.T) {
			caught := ""
			property(t, func(t *rapid.T) {
				if !strings.Contains(caught, tt.seen) {
					caught = newWorld(t, tt.policy, tt.store).run(t)
				}
			})
			if !strings.Contains(caught, tt.seen) {
				t.Errorf("the mutation was not detected, but %q", caught)
			}
			t.Log(caught)
		})
	}
}

// immortal stores every entry as fresh for one more hour.
type immortal struct{ cache.LocalStore }

func (s immortal) Put(ctx context.Context, key string, e *cache.Entry) error {
	e.Fresh += time.Hour
	return s.LocalStore.Put(ctx, key, e)
}

// blind stores as if nothing varied.
type blind struct{ cache.LocalStore }

func (s blind) Put(ctx context.Context, key string, e *cache.Entry) error {
	e.Vary, e.Selecting = nil, nil
	return s.LocalStore.Put(ctx, key, e)
}

// unpurged stores as if nothing had tags.
type unpurged struct{ cache.LocalStore }

func (s unpurged) Put(ctx context.Context, key string, e *cache.Entry) error {
	e.Marks = nil
	return s.LocalStore.Put(ctx, key, e)
}

// property runs a property in bubbles, from a seed that it logs.
func property(t *testing.T, run func(*rapid.T)) {
	for name, value := range map[string]string{"rapid.seed": "2026", "rapid.checks": strconv.Itoa(propertyRuns)} {
		f := flag.Lookup(name)
		if before := f.Value.String(); before == f.DefValue {
			_ = f.Value.Set(value)
			defer func() { _ = f.Value.Set(before) }()
		}
		t.Logf("-%s=%s", name, f.Value)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // makes a seed reproducible
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, run) })
}

// world is a cache, its origin, and what the origin said.
type world struct {
	snapshot *policy.Snapshot
	clock    *env.Clock
	cache    *cache.Cache
	handler  http.Handler

	steps, hits, waited int
	newest              int        // representation
	flying              []*request // in progress

	mu       sync.Mutex         // the origin gets concurrent requests
	origin   behaviour          // guarded by mu
	current  map[string]int     // representation of a path and variant, guarded by mu
	of       map[int]string     // path and variant of a representation, guarded by mu
	rights   map[string][]right // by path, guarded by mu
	writes   map[string][]int   // of a path, by their number, guarded by mu
	written  int                // writes so far, guarded by mu
	failures map[string]outage  // the last of a path and variant, guarded by mu
}

// request is a client's request.
type request struct {
	ex       *exchange.Exchange
	client   int
	began    int // writes before it
	rec      *httptest.ResponseRecorder
	cancel   context.CancelFunc
	gone     bool          // the client has left
	gate     chan struct{} // the origin delays its response until it is closed; nil: no delay
	released bool          // the gate is open
	done     bool
	answered map[int]bool // representations that the origin gave or confirmed to it, guarded by world.mu
	failed   int          // the origin's failure: a status, -1: no response; guarded by world.mu
}

// askedBy is the context key of the request for which the origin is asked; a background refresh has
// none.
type askedBy struct{}

func newWorld(t *rapid.T, text string, plant func(cache.LocalStore) cache.LocalStore) *world {
	snapshot, err := policy.Parse("test.yaml", []byte(text), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		snapshot: snapshot, clock: env.NewClock(time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)),
		current: map[string]int{}, of: map[int]string{}, rights: map[string][]right{}, writes: map[string][]int{}, failures: map[string]outage{},
	}
	var local cache.LocalStore = memory.NewCache(1<<20, w.clock.Now)
	if plant != nil {
		local = plant(local)
	}
	tags := cache.NewTags(cache.TagsConfig{})
	w.cache = cache.New(cache.Config{Store: &cache.Tiers{Local: local, Tags: tags, Now: w.clock.Now}, Tags: tags, Now: w.clock.Now})
	upstream := w.cache.Transport(roundTrip(w.roundTrip))
	w.handler = w.cache.Handler(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		resp, err := upstream.RoundTrip(r)
		if err != nil {
			out.WriteHeader(http.StatusBadGateway)
			return
		}
		maps.Copy(out.Header(), resp.Header)
		out.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(out, resp.Body)
		_ = resp.Body.Close()
	}))
	return w
}

// Even paths are the same for all clients, odd ones vary by X-A.
var propertyPaths = []string{"/strict/0", "/strict/1", "/item/2", "/item/3"}

func variant(path string, h http.Header) string {
	if path[len(path)-1]%2 == 1 {
		return h.Get("X-A")
	}
	return ""
}

var (
	requestControls = []string{"", "", "", "", "no-cache", "max-age=3", "max-stale=5", "max-stale", "min-fresh=4", "no-store", "only-if-cached"}
	methods         = []string{"GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "PUT"}
	ranges          = []string{"", "", "", "", "bytes=0-3", "bytes=4-9", "bytes=-2", "bytes=2-5,8-8", "bytes=20-"}
)

func pick[T any](t *rapid.T, what string, list []T) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(t, what)]
}

func oneIn(t *rapid.T, n int, what string) bool { return rapid.IntRange(1, n).Draw(t, what) == 1 }

// run makes the requests of one run and returns the first fault.
func (w *world) run(t *rapid.T) (fault string) {
	for w.steps = 0; w.steps < propertySteps && fault == ""; w.steps++ {
		w.clock.Advance(time.Duration(rapid.IntRange(0, 4).Draw(t, "seconds")) * time.Second)
		if fault = w.land(t, len(w.flying) >= maxFlying); fault == "" {
			w.start(t)
			fault = w.judgeAll()
		}
	}
	if rest := w.land(t, true); fault == "" {
		fault = rest
	}
	w.cache.Close()
	return fault
}

// land makes the origin answer some or all waiting requests, and some clients leave.
func (w *world) land(t *rapid.T, all bool) string {
	for _, q := range w.flying {
		if !all && oneIn(t, 20, "leaves") {
			q.gone = true
			q.cancel()
		}
		if q.gate != nil && !q.released && (all || oneIn(t, 3, "answered")) {
			close(q.gate)
			q.released = true
		}
	}
	return w.judgeAll()
}

// start starts a request.
func (w *world) start(t *rapid.T) {
	path, client := pick(t, "path", propertyPaths), rapid.IntRange(0, 2).Draw(t, "client")
	h := http.Header{"X-A": {strconv.Itoa(client % 2)}, "X-Client": {strconv.Itoa(client)}}
	for _, f := range [][2]string{{"Cache-Control", pick(t, "request", requestControls)}, {"Range", pick(t, "range", ranges)}} {
		if f[1] != "" {
			h[f[0]] = []string{f[1]}
		}
	}
	at := path + variant(path, h)
	w.mu.Lock()
	w.origin = drawBehaviour(t)
	if w.current[at] == 0 || oneIn(t, 5, "change") {
		w.newest++
		w.current[at], w.of[w.newest] = w.newest, at
	}
	known := w.current[at]
	w.mu.Unlock()
	if oneIn(t, 10, "condition") {
		h["If-None-Match"] = []string{strconv.Quote(strconv.Itoa(known))}
	}
	q := &request{client: client, began: w.written, rec: httptest.NewRecorder(), answered: map[int]bool{}}
	r := httptest.NewRequest(pick(t, "method", methods), path, nil)
	r.Header = h
	if r.Method != "PUT" && oneIn(t, 6, "slow") {
		q.gate = make(chan struct{})
	}
	q.ex = &exchange.Exchange{Snapshot: w.snapshot, View: policy.View{
		Method: r.Method, Host: "api.test", Authority: "api.test", Path: path, Header: h, Now: w.clock.Now(),
	}}
	q.ex.Route, q.ex.Params = w.snapshot.Match(&q.ex.View)
	ctx, cancel := context.WithCancel(context.WithValue(exchange.With(r.Context(), q.ex), askedBy{}, q))
	q.cancel = cancel
	w.flying = append(w.flying, q)
	go func() {
		defer cancel()
		w.handler.ServeHTTP(q.rec, r.WithContext(ctx))
		q.done = true
	}()
}

// judgeAll waits until everything is idle, and judges the requests with a response.
func (w *world) judgeAll() (fault string) {
	synctest.Wait()
	var rest []*request
	for _, q := range w.flying {
		if !q.done {
			rest = append(rest, q)
			continue
		}
		if q.ex.View.Now.Before(w.clock.Now()) {
			w.waited++
		}
		if found := w.judge(q); found != "" && !q.gone && fault == "" {
			fault = fmt.Sprintf("%s %s %v of %v at %v\nasked %v, failed %d\nanswer: %d %v %q\n%s", q.ex.View.Method, q.ex.View.Path, q.ex.View.Header,
				q.ex.View.Now, w.clock.Now(), q.answered, q.failed, q.rec.Code, q.rec.Header(), q.rec.Body, found)
		}
		if q.ex.View.Method == "PUT" && q.rec.Code == http.StatusOK {
			w.write(q.ex.View.Path)
		}
	}
	w.flying = rest
	return fault
}
