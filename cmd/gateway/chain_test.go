package main

import (
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
)

const innerPolicy = `
version: 1
server: {data_dir: ./data}
session: {cookie: {name: gw, secure: false}}
upstreams: {app: {targets: [%q]}}
routes:
  - {name: login, match: {path: /login}, upstream: app, session: optional, session_signal: true}
  - {name: me, match: {path: /me}, upstream: app, session: required, cache: {ttl: 60s, key: [session]}}
`

const outerPolicy = `
version: 1
server: {data_dir: ./data}
session: {cookie: {name: outer, secure: false}}
upstreams: {inner: {targets: [%q]}}
routes: [{name: all, match: {path: "/{rest...}"}, upstream: inner, cache: {mode: strict}}]
`

// A gateway in front of another one obeys the cache fields that are meant for it. The
// page of one visitor, which the inner one made private, goes to no other.
func TestAChainOfGatewaysSharesNoPageOfASession(t *testing.T) {
	t.Parallel()
	inner, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			w.Header().Set("X-Gw-Session", `login {"user":"anna"}`)
			return
		}
		for _, name := range []string{"Edge-Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Cache-Control"} {
			w.Header().Set(name, "max-age=60, public")
		}
		_, _ = io.WriteString(w, "the page of anna")
	}), innerPolicy)
	target, err := url.Parse(inner.base)
	if err != nil {
		t.Fatal(err)
	}
	outer, _ := startSmall(t, httputil.NewSingleHostReverseProxy(target), outerPolicy)
	cookies := outer.get("/login").Cookies()
	if len(cookies) != 1 {
		t.Fatalf("cookies of a login: %v", cookies)
	}
	for range 2 {
		if got := outer.get("/me", "Cookie", cookies[0].String()); got.StatusCode != http.StatusOK || got.body != "the page of anna" {
			t.Fatalf("anna got %d %q", got.StatusCode, got.body)
		}
		if got := outer.get("/me"); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("another visitor got %d %q, Cache-Status %q", got.StatusCode, got.body, got.Header.Get("Cache-Status"))
		}
	}
}
