package cache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/memory"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/internal/storetest"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

// propertySteps is how many requests one run makes; rapid makes 100 runs.
const propertySteps = 1000

// TestNothingIsServedWithoutARight sends random requests of three clients past a
// cache whose origin does as it likes, and compares each answer with what the
// origin said: whether it is of the resource and variant that was asked for and
// in one piece, whether it is fresh or may be stale, whether it is older than a
// write, and whose cookie it carries. A failure tells the seed to repeat it by.
func TestNothingIsServedWithoutARight(t *testing.T) {
	snapshot, err := policy.Parse("test.yaml", []byte(testPolicy), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	hits := 0
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(snapshot)
		defer w.cache.Close()
		for range propertySteps {
			w.step(t)
		}
		hits += w.hits
	})
	if hits == 0 {
		t.Error("nothing was ever served from the store: the test tests nothing")
	}
}

// world is a cache, its origin, and what the origin said.
type world struct {
	snapshot *policy.Snapshot
	clock    *storetest.Clock
	cache    *cache.Cache
	handler  http.Handler
	hits     int
	newest   int // representation

	mu       sync.Mutex         // an origin is asked in the background too
	origin   behaviour          // guarded by mu
	current  map[string]int     // representation of a path and variant, guarded by mu
	rights   map[string][]right // by path, guarded by mu
	asked    *exchange.Exchange // the request that is on its way, guarded by mu
	answered map[int]bool       // representations that the origin gave or confirmed to it, guarded by mu
	failed   int                // what the origin failed it with: a status, -1: no answer, guarded by mu
}

// behaviour is how the origin answers.
type behaviour struct {
	control string
	tag     string // strong, weak, or none
	cookie  bool
	failure int // a status, -1: no answer, 0: none
}

// right is what the origin allowed when it gave or confirmed a representation.
type right struct {
	rep        int
	variant    string
	at         time.Time
	fresh      time.Duration
	swr, sie   time.Duration
	neverStale bool
}

func newWorld(snapshot *policy.Snapshot) *world {
	w := &world{
		snapshot: snapshot, clock: storetest.NewClock(time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)),
		current: map[string]int{}, rights: map[string][]right{},
	}
	tags := cache.NewTags(cache.TagsConfig{})
	tiers := &cache.Tiers{Local: memory.NewCache(1<<20, w.clock.Now), Tags: tags, Now: w.clock.Now}
	w.cache = cache.New(cache.Config{Store: tiers, Tags: tags, Now: w.clock.Now})
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

// Even paths are the same for all, odd ones vary by X-A.
var propertyPaths = []string{"/strict/0", "/strict/1", "/item/2", "/item/3"}

func varies(path string) bool { return path[len(path)-1]%2 == 1 }

func (w *world) variant(path string, h http.Header) string {
	if varies(path) {
		return h.Get("X-A")
	}
	return ""
}

func contentOf(rep int) string { return fmt.Sprintf("%010d", rep) }

var (
	controls = []string{
		"max-age=10", "max-age=10, must-revalidate", "s-maxage=5", "max-age=0", "no-store", "private, max-age=100", "no-cache",
		"max-age=5, stale-while-revalidate=10", "max-age=5, stale-if-error=20", "max-age=100", "public, max-age=3, proxy-revalidate",
	}
	requestControls = []string{"", "", "", "", "no-cache", "max-age=3", "max-stale=5", "max-stale", "min-fresh=4", "no-store", "only-if-cached"}
	failures        = []int{0, 0, 0, 0, 0, 0, 0, 500, 503, -1}
	methods         = []string{"GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "PUT"}
	ranges          = []string{"", "", "", "", "bytes=0-3", "bytes=4-9", "bytes=-2", "bytes=2-5,8-8", "bytes=20-"}
)

func pick[T any](t *rapid.T, what string, list []T) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(t, what)]
}

func (w *world) step(t *rapid.T) {
	w.clock.Advance(time.Duration(rapid.IntRange(0, 4).Draw(t, "seconds")) * time.Second)
	path := pick(t, "path", propertyPaths)
	client := rapid.IntRange(0, 2).Draw(t, "client")
	h := http.Header{"X-A": {strconv.Itoa(client % 2)}, "X-Client": {strconv.Itoa(client)}}
	for name, value := range map[string]string{"Cache-Control": pick(t, "request", requestControls), "Range": pick(t, "range", ranges)} {
		if value != "" {
			h[name] = []string{value}
		}
	}
	w.origin = behaviour{
		control: pick(t, "response", controls), tag: pick(t, "tag", []string{"strong", "strong", "weak", "none"}),
		cookie: rapid.IntRange(0, 4).Draw(t, "cookie") == 0, failure: pick(t, "failure", failures),
	}
	if at := path + w.variant(path, h); w.current[at] == 0 || rapid.IntRange(0, 4).Draw(t, "change") == 0 {
		w.newest++
		w.current[at] = w.newest
	}
	r := httptest.NewRequest(pick(t, "method", methods), path, nil)
	r.Header = h
	if known := w.current[path+w.variant(path, h)]; rapid.IntRange(0, 9).Draw(t, "condition") == 0 {
		h["If-None-Match"] = []string{strconv.Quote(strconv.Itoa(known))}
	}
	ex := &exchange.Exchange{Snapshot: w.snapshot, View: policy.View{
		Method: r.Method, Host: "api.test", Authority: "api.test", Path: path, Header: h, Now: w.clock.Now(),
	}}
	ex.Route, ex.Params = w.snapshot.Match(&ex.View)
	w.asked, w.answered, w.failed = ex, map[int]bool{}, 0
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r.WithContext(exchange.With(r.Context(), ex)))
	w.cache.Settle()
	if fault := w.judge(ex, rec, client); fault != "" {
		t.Fatalf("%s %s %v at %v\norigin: %+v, asked %v, failed %d\nanswer: %d %v %q\n%s", r.Method, path, h, w.clock.Now(),
			w.origin, w.answered, w.failed, rec.Code, rec.Header(), rec.Body, fault)
	}
	if r.Method == "PUT" && rec.Code == http.StatusOK {
		w.rights[path] = nil
	}
}

// roundTrip is the origin.
func (w *world) roundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, path := w.origin, r.URL.Path
	foreground := exchange.From(r.Context()) == w.asked
	if o.failure != 0 && foreground {
		w.failed = o.failure
	}
	if o.failure < 0 {
		return nil, errors.New("connection reset")
	}
	rec := httptest.NewRecorder()
	if o.failure > 0 {
		rec.Header().Set("Cache-Control", o.control)
		rec.WriteHeader(o.failure)
		return rec.Result(), nil
	}
	rep := w.current[path+w.variant(path, r.Header)]
	out := rec.Header()
	out.Set("Cache-Control", o.control)
	out.Set("Date", w.clock.Now().Format(http.TimeFormat))
	out.Set("X-Rep", strconv.Itoa(rep))
	if varies(path) {
		out.Set("Vary", "X-A")
	}
	tag := map[string]string{"strong": fmt.Sprintf(`"%d"`, rep), "weak": fmt.Sprintf(`W/"%d"`, rep)}[o.tag]
	if r.Method == http.MethodHead {
		tag = fmt.Sprintf(`"%d"`, rep) // without one, nothing would tell a HEAD of this from one of that
	}
	if tag != "" {
		out.Set("ETag", tag)
	}
	if o.cookie {
		out.Set("Set-Cookie", "c="+r.Header.Get("X-Client"))
	}
	status := originAnswers(rec, r, rep, tag)
	if foreground {
		w.answered[rep] = true
	}
	w.grant(r, rep, status)
	resp := rec.Result()
	resp.ContentLength = int64(rec.Body.Len())
	return resp, nil
}

func originAnswers(rec *httptest.ResponseRecorder, r *http.Request, rep int, tag string) int {
	content := contentOf(rep)
	if m := r.Header.Get("If-None-Match"); m != "" && tag != "" && strings.TrimPrefix(m, "W/") == strings.TrimPrefix(tag, "W/") {
		rec.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified
	}
	selected := rfc9111.SelectRanges(r.Header, rec.Header(), 10, time.Time{})
	if spans := selected.Spans(); r.Method == http.MethodGet && len(spans) == 1 {
		rec.Header().Set("Content-Range", string(rfc9111.AppendContentRange(nil, spans[0], 10)))
		rec.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(rec, content[spans[0].First:spans[0].Last+1])
		return http.StatusPartialContent
	}
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(rec, content)
	}
	return http.StatusOK
}

// grant notes what an answer of the origin allows later.
func (w *world) grant(r *http.Request, rep, status int) {
	o, path := w.origin, r.URL.Path
	cc := rfc9111.ParseCacheControl([]string{o.control})
	if cc.NoStore || cc.Private || r.Method != http.MethodGet && r.Method != http.MethodHead || o.cookie && status != http.StatusNotModified && r.Method != http.MethodHead {
		return
	}
	g := right{
		rep: rep, variant: w.variant(path, r.Header), at: w.clock.Now(), fresh: cc.MaxAge.Value,
		swr: cc.StaleWhileRevalidate.Value, sie: cc.StaleIfErr.Value, neverStale: rfc9111.ForbidsStale(&cc, true),
	}
	if cc.SMaxAge.Set {
		g.fresh = cc.SMaxAge.Value
	}
	if strings.HasPrefix(path, "/item") {
		g.fresh = time.Minute // the policy's
		g.neverStale = cc.MustRevalidate || cc.ProxyRevalidate || cc.SMaxAge.Set
	}
	w.rights[path] = append(w.rights[path], g)
}

// judge tells what is wrong with an answer; "": nothing.
func (w *world) judge(ex *exchange.Exchange, rec *httptest.ResponseRecorder, client int) string {
	h, v := rec.Header(), &ex.View
	if got := h.Get("Set-Cookie"); got != "" && got != "c="+strconv.Itoa(client) {
		return "another client's cookie"
	}
	rep, err := strconv.Atoi(h.Get("X-Rep"))
	if err != nil || v.Method == "PUT" {
		return "" // a failure, which says nothing of a resource
	}
	if fault := intact(rec, rep, v.Method); fault != "" {
		return fault
	}
	if w.answered[rep] {
		return ""
	}
	w.hits++
	if h.Get("Set-Cookie") != "" {
		return "a stored cookie"
	}
	cc := rfc9111.ParseCacheControl(v.Header.Values("Cache-Control"))
	if cc.NoCache {
		return "no-cache is answered from the store"
	}
	for _, g := range w.rights[v.Path] {
		if g.rep == rep && g.variant == w.variant(v.Path, v.Header.(http.Header)) && w.allows(g, &cc, v.Now) {
			return ""
		}
	}
	return fmt.Sprintf("nothing gives the right to serve it: %+v", w.rights[v.Path])
}

func (w *world) allows(g right, cc *rfc9111.CacheControl, now time.Time) bool {
	age := now.Sub(g.at)
	stale := age - g.fresh
	if stale < 0 {
		return !cc.MaxAge.Set || age <= cc.MaxAge.Value
	}
	window := max(g.swr, cc.MaxStale.Value)
	switch {
	case w.failed < 0:
		window = max(window, g.sie, time.Hour)
	case w.failed > 0:
		window = max(window, g.sie)
	}
	return !g.neverStale && stale <= window
}

// intact checks that content is of the representation that the header speaks of.
func intact(rec *httptest.ResponseRecorder, rep int, method string) string {
	content, body := contentOf(rep), rec.Body.String()
	switch {
	case method == http.MethodHead || rec.Code == http.StatusNotModified || rec.Code == http.StatusRequestedRangeNotSatisfiable:
		content = ""
	case rec.Code == http.StatusPartialContent && rec.Header().Get("Content-Range") != "":
		span, complete, ok := rfc9111.ParseContentRange(rec.Header().Get("Content-Range"))
		if !ok || complete != 10 {
			return "a bad Content-Range"
		}
		content = content[span.First : span.Last+1]
	case rec.Code == http.StatusPartialContent:
		if !bytes.Contains(rec.Body.Bytes(), []byte(content[2:6])) {
			return "a part of another representation"
		}
		return ""
	}
	if body != content {
		return fmt.Sprintf("content %q, want %q", body, content)
	}
	return ""
}
