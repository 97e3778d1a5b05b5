package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A response without Content-Type says that nobody may guess one. Neither the
// response nor a hit gets one here.
func TestNoContentTypeIsInvented(t *testing.T) {
	backend := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, "<html><script>alert(1)</script>")
	})
	t.Parallel()
	g, _ := startSmall(t, backend, smallPolicy+"  - {name: cached, match: {path: /cached}, upstream: app, cache: {ttl: 1h}}\n")
	for _, path := range []string{"/plain", "/cached", "/cached"} {
		res := g.get(path)
		if values, ok := res.Header["Content-Type"]; ok {
			t.Errorf("%s (%s) has type %q", path, res.Header.Get("Cache-Status"), values)
		}
	}
	if status := g.get("/cached").Header.Get("Cache-Status"); !strings.Contains(status, "hit") {
		t.Errorf("no hit: %s", status)
	}
}
