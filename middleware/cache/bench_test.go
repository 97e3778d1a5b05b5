package cache_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

// discard is a ResponseWriter without a connection; its header is reused.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkFreshHit is a hit without the connection: plan, look-up, response.
func BenchmarkFreshHit(b *testing.B) { benchmarkHit(b, "identity") }

// BenchmarkEncodedHit is a hit whose encoded form is kept.
func BenchmarkEncodedHit(b *testing.B) { benchmarkHit(b, "gzip, deflate, br, zstd") }

func TestAnEncodedHitAllocatesNoMoreThanIdentity(t *testing.T) {
	identity := testing.AllocsPerRun(200, hits(t, "identity"))
	for _, accept := range []string{"zstd", "br", "gzip, deflate"} {
		if n := testing.AllocsPerRun(200, hits(t, accept)); n > identity {
			t.Errorf("%s: %v allocations a hit, of identity %v", accept, n, identity)
		}
	}
}

func benchmarkHit(b *testing.B, accept string) {
	hit := hits(b, accept)
	b.ReportAllocs()
	for b.Loop() {
		hit()
	}
}

// hits returns a function that makes the same hit each time.
func hits(t testing.TB, accept string) func() {
	snapshot, err := policy.Parse("test.yaml", []byte(testPolicy), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	tags := cache.NewTags(cache.TagsConfig{})
	tiers := &cache.Tiers{Local: memory.NewCache(64<<20, time.Now), Tags: tags, Now: time.Now}
	c := cache.New(cache.Config{Store: tiers, Tags: tags})
	t.Cleanup(c.Close)
	upstream := c.Transport(answering("Content-Type", "application/json", "ETag", `"abc"`, "Vary", "Accept-Encoding, Cookie",
		"Cache-Control", "max-age=60", "X-Frame-Options", "deny", "Server", "gunicorn", "X-Request", "1"))
	handler := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward(w, r, upstream) }))
	r := httptest.NewRequest(http.MethodGet, "/list?page=1&limit=50&latitude=40.7128", nil)
	r.Header.Set("Accept-Encoding", accept)
	r.Header.Set("User-Agent", "Mozilla/5.0")
	r.Header.Set("Cookie", "theme=dark; lang=en")
	ex := &exchange.Exchange{Snapshot: snapshot, View: policy.View{
		Method: r.Method, Host: "api.test", Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header,
		Client: netip.MustParseAddr("192.0.2.1"), Now: time.Now(),
	}}
	ex.Route, ex.Params = snapshot.Match(&ex.View)
	r = r.WithContext(exchange.With(r.Context(), ex))
	w := &discard{http.Header{}}
	handler.ServeHTTP(w, r)
	hit := func() {
		clear(w.header)
		ex.Facts = exchange.Facts{}
		handler.ServeHTTP(w, r)
		if encoded := w.header["Content-Encoding"] != nil; ex.Facts.Cache != "hit" || encoded == (accept == "identity") {
			t.Fatalf("%q, %v", ex.Facts.Cache, w.header)
		}
	}
	hit() // which makes the form that is kept
	return hit
}

// answering is an upstream that always responds the same.
func answering(header ...string) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		says(strings.Repeat("x", 1024), header...)(rec, r)
		resp := rec.Result()
		resp.ContentLength = 1024
		return resp, nil
	})
}

// forward is a minimal proxy.
func forward(w http.ResponseWriter, r *http.Request, upstream http.RoundTripper) {
	resp, err := upstream.RoundTrip(r)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	_, _ = io.Copy(w, resp.Body)
	_ = resp.Body.Close()
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
