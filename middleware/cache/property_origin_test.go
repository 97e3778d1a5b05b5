package cache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// behaviour is how the origin responds.
type behaviour struct {
	control string
	tag     string // strong, weak, or none
	cookie  bool
	failure int // a status, -1: no answer, 0: none
}

var (
	controls = []string{
		"max-age=10", "max-age=10, must-revalidate", "s-maxage=5", "max-age=0", "no-store", "private, max-age=100", "no-cache",
		"max-age=5, stale-while-revalidate=10", "max-age=5, stale-if-error=20", "max-age=100", "public, max-age=3, proxy-revalidate",
	}
	failures = []int{0, 0, 0, 0, 0, 0, 0, 500, 503, -1}
)

func drawBehaviour(t *rapid.T) behaviour {
	return behaviour{
		control: pick(t, "response", controls), tag: pick(t, "tag", []string{"strong", "strong", "weak", "none"}),
		cookie: oneIn(t, 5, "cookie"), failure: pick(t, "failure", failures),
	}
}

// outage is a failure of the origin, after which it may be left alone for a while.
type outage struct {
	failure int
	at      time.Time
}

// right is what the origin allowed when it sent or confirmed a representation.
type right struct {
	rep        int
	variant    string
	at         time.Time
	fresh      time.Duration
	swr, sie   time.Duration
	neverStale bool
	until      int // number of the write that ended it; 0: none
}

// write ends what the origin allowed for a path: later requests must see the new state.
func (w *world) write(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written++
	w.writes[path] = append(w.writes[path], w.written)
	for i := range w.rights[path] {
		if g := &w.rights[path][i]; g.until == 0 {
			g.until = w.written
		}
	}
}

// roundTrip is the origin. It decides at once, and delays its response if the request is slow.
func (w *world) roundTrip(r *http.Request) (*http.Response, error) {
	q, _ := r.Context().Value(askedBy{}).(*request)
	w.mu.Lock()
	defer w.mu.Unlock()
	o, path, before := w.origin, r.URL.Path, w.written
	rep := w.current[path+variant(path, r.Header)]
	rec, status := w.answer(o, r, rep)
	g := w.grant(o, r, rep, status)
	if q != nil && q.gate != nil {
		gate := q.gate
		w.mu.Unlock()
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		w.mu.Lock()
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
	}
	if o.failure != 0 {
		w.failures[path+variant(path, r.Header)] = outage{o.failure, w.clock.Now()}
		if q != nil {
			q.failed = o.failure
		}
		if o.failure < 0 {
			return nil, errors.New("connection reset")
		}
		return rec.Result(), nil
	}
	if q != nil {
		q.answered[rep] = true
	}
	if g != nil {
		if strings.HasPrefix(path, "/item") {
			g.at = w.clock.Now() // the policy's lifetime begins here
		}
		if i := slices.IndexFunc(w.writes[path], func(n int) bool { return n > before }); i >= 0 {
			g.until = w.writes[path][i]
		}
		w.rights[path] = append(w.rights[path], *g)
	}
	resp := rec.Result()
	resp.ContentLength = int64(rec.Body.Len())
	return resp, nil
}

func contentOf(rep int) string { return fmt.Sprintf("%010d", rep) }

func (w *world) answer(o behaviour, r *http.Request, rep int) (*httptest.ResponseRecorder, int) {
	rec := httptest.NewRecorder()
	out := rec.Header()
	out.Set("Cache-Control", o.control)
	if o.failure != 0 {
		rec.WriteHeader(max(o.failure, 500))
		return rec, o.failure
	}
	out.Set("Date", w.clock.Now().Format(http.TimeFormat))
	out.Set("X-Rep", strconv.Itoa(rep))
	if path := r.URL.Path; path[len(path)-1]%2 == 1 {
		out.Set("Vary", "X-A")
	}
	tag := map[string]string{"strong": fmt.Sprintf(`"%d"`, rep), "weak": fmt.Sprintf(`W/"%d"`, rep)}[o.tag]
	if r.Method == http.MethodHead {
		tag = fmt.Sprintf(`"%d"`, rep) // without one, a HEAD could not tell representations apart
	}
	if tag != "" {
		out.Set("ETag", tag)
	}
	if o.cookie {
		out.Set("Set-Cookie", "c="+r.Header.Get("X-Client"))
	}
	content := contentOf(rep)
	if m := r.Header.Get("If-None-Match"); m != "" && tag != "" && strings.TrimPrefix(m, "W/") == strings.TrimPrefix(tag, "W/") {
		rec.WriteHeader(http.StatusNotModified)
		return rec, http.StatusNotModified
	}
	selected := rfc9111.SelectRanges(r.Header, rec.Header(), 10, time.Time{})
	if spans := selected.Spans(); r.Method == http.MethodGet && len(spans) == 1 {
		rec.Header().Set("Content-Range", string(rfc9111.AppendContentRange(nil, spans[0], 10)))
		rec.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(rec, content[spans[0].First:spans[0].Last+1])
		return rec, http.StatusPartialContent
	}
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(rec, content)
	}
	return rec, http.StatusOK
}

// grant is what a response of the origin allows later; nil: nothing.
func (w *world) grant(o behaviour, r *http.Request, rep, status int) *right {
	path := r.URL.Path
	cc := rfc9111.ParseCacheControl([]string{o.control})
	if o.failure != 0 || cc.NoStore || cc.Private || r.Method != http.MethodGet && r.Method != http.MethodHead ||
		o.cookie && status != http.StatusNotModified && r.Method != http.MethodHead {
		return nil
	}
	g := &right{
		rep: rep, variant: variant(path, r.Header), at: w.clock.Now(), fresh: cc.MaxAge.Value,
		swr: cc.StaleWhileRevalidate.Value, sie: cc.StaleIfErr.Value, neverStale: rfc9111.ForbidsStale(&cc, true),
	}
	if cc.SMaxAge.Set {
		g.fresh = cc.SMaxAge.Value
	}
	if strings.HasPrefix(path, "/item") {
		g.fresh = time.Minute // the policy's
		g.neverStale = cc.MustRevalidate || cc.ProxyRevalidate || cc.SMaxAge.Set
	}
	return g
}

// judge says what is wrong with a response; "": nothing.
func (w *world) judge(q *request) string {
	h, v := q.rec.Header(), &q.ex.View
	if got := h.Get("Set-Cookie"); got != "" && got != "c="+strconv.Itoa(q.client) {
		return "another client's cookie"
	}
	rep, err := strconv.Atoi(h.Get("X-Rep"))
	if err != nil || v.Method == "PUT" {
		return "" // a failure, which says nothing of a resource
	}
	of := variant(v.Path, v.Header.(http.Header))
	if w.of[rep] != v.Path+of {
		return "of another variant or path: " + w.of[rep]
	}
	if fault := intact(q.rec, rep, v.Method); fault != "" {
		return fault
	}
	if q.answered[rep] {
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
		if g.rep == rep && g.variant == of && (g.until == 0 || q.began < g.until) && w.allows(g, q, &cc) {
			return ""
		}
	}
	return fmt.Sprintf("nothing gives the right to serve it: %+v", w.rights[v.Path])
}

// allows reports whether a right covers a request that is answered now.
func (w *world) allows(g right, q *request, cc *rfc9111.CacheControl) bool {
	now := w.clock.Now()
	age := now.Sub(g.at)
	stale := age - g.fresh
	if stale < 0 {
		return !cc.MaxAge.Set || age <= cc.MaxAge.Value
	}
	window := max(g.swr, cc.MaxStale.Value)
	failed := q.failed
	if last := w.failures[q.ex.View.Path+g.variant]; failed == 0 && now.Sub(last.at) < 30*time.Second {
		failed = last.failure
	}
	switch {
	case failed < 0:
		window = max(window, g.sie, time.Hour)
	case failed > 0:
		window = max(window, g.sie)
	}
	return !g.neverStale && (stale < window || cc.MaxStale.Set && stale <= cc.MaxStale.Value)
}

// intact checks that the content matches the representation in the header.
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
