package cache_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Cache-Status and the access log's facts say why a response was not stored.
func TestWhyAResponseIsNotStored(t *testing.T) {
	large := strings.Repeat("x", 200<<10)
	for _, tt := range []struct {
		path    string
		request []string
		answer  http.HandlerFunc
		body    string
		want    string
	}{
		{path: "/list", answer: says("a", "Cache-Control", "private"), body: "a", want: "private"},
		{path: "/list", answer: says("a", "Cache-Control", "no-store"), body: "a", want: "no-store"},
		{path: "/list", answer: says("a", "Set-Cookie", "a=b"), body: "a", want: "set-cookie"},
		{path: "/list", answer: says("a", "Vary", "*"), body: "a", want: "vary"},
		{path: "/strict/a", answer: says("a", "Vary", "X-Request-Id", "Cache-Control", "max-age=60"), body: "a", want: "vary"},
		{path: "/strict/a", answer: says("a"), body: "a", want: "no-lifetime"},
		{path: "/list", answer: says("a", "Content-Type", "text/event-stream"), body: "a", want: "stream"},
		{path: "/list", answer: says(large, "Content-Length", strconv.Itoa(len(large))), body: large, want: "too-large"},
		{path: "/strict/a", request: []string{"Cache-Control", "no-store"}, answer: says("a", "Cache-Control", "max-age=60"), body: "a", want: "request-no-store"},
		{path: "/strict/a", request: []string{"Authorization", "Basic x"}, answer: says("a", "Cache-Control", "max-age=60"), body: "a", want: "authorization"},
		{path: "/list", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, want: "status"},
		{path: "/list", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, want: "policy"},
		{path: "/strict/a", request: []string{"Range", "lines=1-2"}, answer: says("a", "Cache-Control", "max-age=60"), body: "a", want: "range"},
		{path: "/strict/a", request: []string{"Range", "bytes=evil"}, answer: says("a", "Cache-Control", "max-age=60"), body: "a", want: "range"},
		{path: "/strict/a", request: []string{"Range", "bytes=0-0", "If-Range", `"evil"`}, answer: says("a", "Cache-Control", "max-age=60"), body: "a", want: "range"},
	} {
		t.Run(tt.want+" "+tt.path, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(tt.answer)
			got := e.get(tt.path, tt.request...)
			if got.body != tt.body || !strings.HasSuffix(got.cacheStatus(), "; detail="+tt.want) || strings.Contains(got.cacheStatus(), "stored") {
				t.Errorf("got %q with %q", clip(got.body), got.cacheStatus())
			}
			if f := e.exchange().Facts; f.NotStored != tt.want {
				t.Errorf("the log says %q", f.NotStored)
			}
		})
	}
}

func TestAStoredResponseHasNoReason(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("a"))
	if got := e.get("/list"); !strings.HasSuffix(got.cacheStatus(), "; stored") || e.exchange().Facts.NotStored != "" {
		t.Errorf("%q, %q", got.cacheStatus(), e.exchange().Facts.NotStored)
	}
	if got := e.do(http.MethodHead, "/item/1", ""); strings.Contains(got.cacheStatus(), "detail") {
		t.Errorf("HEAD, which is never stored: %q", got.cacheStatus())
	}
}

// Vary: Cookie is logged once a route: it seldom does what is intended.
func TestVaryCookieIsToldOfOnce(t *testing.T) {
	var log bytes.Buffer
	e := newEdge(t, options{log: slog.New(slog.NewTextHandler(&log, nil))})
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Vary", "Accept, Cookie")
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "a")
	})
	for _, path := range []string{"/list", "/list?page=2", "/strict/a", "/strict/b", "/strict/b"} {
		e.get(path, "Cookie", "a=b")
		e.exchange()
	}
	for route, says := range map[string]string{"list": "it selects nothing", "strict": "a variant of their own"} {
		n := 0
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "Vary: Cookie") && strings.Contains(line, "route="+route) {
				n++
				if !strings.Contains(line, "level=WARN") || !strings.Contains(line, says) || !strings.Contains(line, "at=test.yaml:") {
					t.Error(line)
				}
			}
		}
		if n != 1 {
			t.Errorf("%s was logged %d times:\n%s", route, n, log.String())
		}
	}
}
