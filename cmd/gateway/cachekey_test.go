package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// keyedPolicy caches what anyone may see, and what one session may; the upstream
// stands for %s.
const keyedPolicy = `
version: 1
server: {data_dir: ./data, trusted_proxies: []}
session: {cookie: {name: gw, secure: false}}
upstreams:
  app: {targets: [%q]}
routes:
  - {name: auth, match: {path: "/auth/{verb}"}, upstream: app, session: optional, session_signal: true}
  - {name: home, match: {path: /home}, upstream: app, session: required, cache: {ttl: 1h, key: [session]}}
  - {name: user, match: {path: "/users/{id}"}, upstream: app, cache: {ttl: 1h, tags: ["session.user:{id}"]}}
  - {name: page, match: {path: "/page/{id}"}, upstream: app, cache: {ttl: 1h}}
`

// TestALogoutPurgesWhatTheSessionSaw sees the purge by a tag that is that of the
// user's private entries: of a session that has ended no key is made again.
func TestALogoutPurgesWhatTheSessionSaw(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth/logout-all" {
			w.Header().Set("X-Gw-Session", "logout-all")
		}
		signals(w, r)
	}), keyedPolicy)
	hits := func(when, path string, want bool, header ...string) {
		t.Helper()
		if status := g.get(path, header...).Header.Get("Cache-Status"); strings.HasPrefix(status, "edge; hit") != want {
			t.Errorf("%s: %s with Cache-Status %q; hit: %v", when, path, status, want)
		}
	}
	mine, others := g.begin(t), g.begin(t)
	for _, cookie := range []string{mine, others} {
		hits("at first", "/home", false, "Cookie", cookie)
		hits("again", "/home", true, "Cookie", cookie)
	}
	hits("at first", "/users/42", false)
	if out := g.do("POST", "/auth/logout", "", "Cookie", mine); out.StatusCode != http.StatusOK {
		t.Fatalf("logout: %s", out.Status)
	}
	g.wantHome(t, "after the logout", mine, http.StatusUnauthorized)
	hits("another session of the user", "/home", true, "Cookie", others)
	hits("after the logout of one session", "/users/42", true)
	g.do("POST", "/auth/logout-all", "", "Cookie", others)
	hits("after the logout of all", "/users/42", false)
}

// TestNoHeaderPoisonsTheCache fills the cache with each header that frameworks
// take for the request's own host, scheme, path or method, and looks whether the
// next client gets what it did.
func TestNoHeaderPoisonsTheCache(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), "evil") {
				_, _ = fmt.Fprintf(w, "poisoned by %s; ", name)
			}
		}
		_, _ = io.WriteString(w, r.Host)
	}), keyedPolicy)
	for i, name := range []string{
		"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server",
		"X-Forwarded-For", "X-Forwarded-Path", "Forwarded", "X-Host", "X-Original-Host", "X-Original-Url", "X-Original-Uri", "X-Rewrite-Url",
		"X-Scheme", "X-Url-Scheme", "X-Script-Name", "X-Http-Host-Override", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
		"X-Real-Ip", "X-Gw-Identity", "X-Gw-Session", "Proxy", "X_Forwarded_Host", "Cookie", "X-Request-Id",
	} {
		path := fmt.Sprintf("/page/%d", i)
		value := "evil.test"
		if name == "Cookie" {
			value = "lang=evil"
		}
		clean := g.base[len("http://"):]
		if a := g.get(path, name, value); a.StatusCode != http.StatusOK || a.body != clean {
			t.Errorf("%s reaches the upstream: %s %q", name, a.Status, a.body)
		}
		if a := g.get(path); !strings.HasPrefix(a.Header.Get("Cache-Status"), "edge; hit") || a.body != clean {
			t.Errorf("%s: the next client gets %q with Cache-Status %q", name, a.body, a.Header.Get("Cache-Status"))
		}
	}
}

// TestNobodysResponseIsStoredForAll holds that a session changes nothing in what
// a shared entry is filled with.
func TestNobodysResponseIsStoredForAll(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/auth/") {
			signals(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, "identity %q, cookies %q", r.Header.Get("X-Gw-Identity"), r.Header.Get("Cookie"))
	}), keyedPolicy)
	cookie := g.begin(t)
	for _, header := range [][]string{{"Cookie", cookie + "; theirs=1"}, nil} {
		if a := g.get("/page/1", header...); a.body != `identity "", cookies ""` || len(a.Cookies()) > 0 {
			t.Errorf("asked with %q: %q, cookies %v", header, a.body, a.Cookies())
		}
	}
	for range 2 { // who says who it is goes past
		a := g.get("/page/1", "Authorization", "Bearer x")
		if got := a.Header.Get("Cache-Status"); got != "edge; fwd=bypass; fwd-status=200; detail=Authorization" {
			t.Errorf("with Authorization: Cache-Status %q", got)
		}
	}
}
