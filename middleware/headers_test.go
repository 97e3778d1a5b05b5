package middleware_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/jewgo/gateway/internal/exchange"
)

// The policy's fields are on every response once, also where the upstream has others, and where a layer
// refuses. The next response has them unchanged.
func TestHeaders(t *testing.T) {
	const text = `
version: 1
server: {hosts: [127.0.0.1], headers: {x-content-type-options: nosniff, X-Frame-Options: DENY}}
upstreams: {app: {targets: ["http://127.0.0.1:1"]}}
routes: [{name: things, match: {path: /things}, upstream: app}]
`
	e := newEdge(t, text, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Frame-Options"] = []string{"SAMEORIGIN", "ALLOWALL"}
		w.Header().Add("X-Content-Type-Options", "sniff")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
	})
	for _, path := range []string{"/things", "/nothing", "/things", "//"} {
		res, err := e.Client().Get(e.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"} {
			if got := res.Header[name]; !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		res.Header.Add("X-Frame-Options", "spoilt")
	}
}

// With server.paths: decode the path that is matched, shown to the layers and sent is one.
func TestDecodedSlashes(t *testing.T) {
	const text = `
version: 1
server: {paths: decode}
upstreams: {app: {targets: ["http://127.0.0.1:1"]}}
routes:
  - {name: denied, match: {path: "/admin/{rest...}"}, deny: 403}
  - {name: one, match: {path: "/one/{id}"}, upstream: app}
  - {name: rest, match: {path: "/{rest...}"}, upstream: app}
`
	e := newEdge(t, text, func(w http.ResponseWriter, r *http.Request) {
		ex := exchange.From(r.Context())
		_, _ = fmt.Fprint(w, ex.Route.Name, " ", ex.View.Path, " ", r.URL.EscapedPath(), " ", ex.Params.Get("id"))
	})
	for path, want := range map[string]string{
		"/one/a":          "one /one/a /one/a a",
		"/one%2Fa":        "one /one/a /one/a a",
		"/one/a%2fb":      "rest /one/a/b /one/a/b ",
		"/one/a%252fb":    "one /one/a%252fb /one/a%252fb a%2fb",
		"/x%2F..%2Fadmin": "400",
		"/x%2F%2Fadmin":   "400",
		"/admin%2Fx":      "403",
		"%2Fadmin/x":      "400",
	} {
		res := e.raw(t, "GET", "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		got := fmt.Sprint(res.StatusCode)
		if res.StatusCode == http.StatusOK {
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			got = string(body)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// A request ends where it has been before.
func TestLoops(t *testing.T) {
	e := newEdge(t, testPolicy, func(http.ResponseWriter, *http.Request) {})
	for via, want := range map[string]int{
		"1.1 edge": 200, "1.1 edge (another)": 200, "1.1 edge (this one)": 508, "1.0 a, 2.0 edge (this one), 1.1 b": 508,
	} {
		res := e.raw(t, "GET", "GET /things/7 HTTP/1.1\r\nHost: localhost\r\nVia: 1.1 x\r\nVia: "+via+"\r\n\r\n")
		if res.StatusCode != want {
			t.Errorf("%s: %s", via, res.Status)
		}
	}
}

// OPTIONS that ends here names the methods of routes that list them.
func TestOptionsThatEndHere(t *testing.T) {
	e := newEdge(t, testPolicy, func(http.ResponseWriter, *http.Request) { t.Error("it went on") })
	for target, want := range map[string][]string{"/things/7": {"GET, HEAD"}, "/post": {"POST"}, "/secret/a": nil} {
		res := e.raw(t, "OPTIONS", "OPTIONS "+target+" HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 0\r\n\r\n")
		if res.StatusCode != http.StatusNoContent || !slices.Equal(res.Header["Allow"], want) {
			t.Errorf("%s: %s, Allow %q", target, res.Status, res.Header["Allow"])
		}
	}
}
