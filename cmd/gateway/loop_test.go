package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

// An upstream that leads back to the gateway gets an answer at once, also on a cached route, where the second
// request would wait for the first.
func TestALoopEnds(t *testing.T) {
	t.Parallel()
	var to *url.URL
	var rounds atomic.Int64
	back := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		rounds.Add(1)
		r.SetURL(to)
		r.Out.Header["Via"] = r.In.Header["Via"]
	}}
	g, _ := startSmall(t, back, smallPolicy+`  - {name: cached, match: {path: /cached}, upstream: app, cache: {ttl: 1m}}
`)
	to, _ = url.Parse(g.base)
	for _, path := range []string{"/", "/cached"} {
		if a := getBy(t, http.DefaultClient, g.base+path); a.StatusCode != http.StatusLoopDetected || rounds.Swap(0) != 1 {
			t.Errorf("%s: %s: %s", path, a.Status, a.body)
		}
	}
}
