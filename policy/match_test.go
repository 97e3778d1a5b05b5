package policy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// routesOf compiles routes, each written as a flow mapping without its deny.
func routesOf(t testing.TB, routes ...string) *Snapshot {
	t.Helper()
	return mustParse(t, policyOf(routes...), nil)
}

func policyOf(routes ...string) string {
	var b strings.Builder
	b.WriteString("version: 1\nroutes:\n")
	for _, r := range routes {
		fmt.Fprintf(&b, "  - {deny: 404, %s}\n", r)
	}
	return b.String()
}

// show gives a match as name and path values.
func show(r *Route, params Params) string {
	if r == nil {
		return "none"
	}
	text := r.Name
	for _, p := range params {
		text += fmt.Sprintf(" %s=%q", p.Name, p.Value)
	}
	return text
}

func TestMatch(t *testing.T) {
	s := routesOf(t,
		`name: list, match: {methods: [GET], path: /a}`,
		`name: create, match: {methods: [POST], path: /a}`,
		`name: item, match: {path: "/a/{id}"}`,
		`name: special, match: {path: /a/special}`,
		`name: below, match: {path: "/a/special/{rest...}"}`,
		`name: folder, match: {path: /f/}`,
		`name: exact, match: {path: "/g/{$}"}`,
		`name: two, match: {path: "/t/{x}/{y}"}`,
		`name: escaped, match: {path: "/e/a%20b"}`,
		`name: here, match: {path: "/a/{id}", host: one.example}`,
		`name: beta, match: {methods: [GET], path: /h, header: {x-beta: "1"}}`,
		`name: stable, match: {methods: [GET], path: /h}`,
		`name: only-beta, match: {path: "/i/{id}", header: {X-Beta: "1"}}`,
		`name: deep, match: {path: "/b/{x}/c"}`,
		`name: head, match: {methods: [HEAD], path: /h}`,
		`name: back, match: {path: "/b/d/e"}`,
		`name: rest, match: {path: "/i/{rest...}"}`,
	)
	beta := http.Header{"X-Beta": {"1"}}
	for _, c := range []struct {
		what   string
		view   View
		want   string
		allow  []string
		header http.Header
	}{
		{what: "by method", view: View{Method: "GET", Path: "/a"}, want: "list"},
		{what: "by the other method", view: View{Method: "POST", Path: "/a"}, want: "create"},
		{what: "GET takes HEAD", view: View{Method: "HEAD", Path: "/a"}, want: "list"},
		{what: "no route for the method", view: View{Method: "PUT", Path: "/a"}, want: "none", allow: []string{"GET", "HEAD", "POST"}},
		{what: "a path value", view: View{Method: "PUT", Path: "/a/17"}, want: `item id="17"`},
		{what: "a path value is decoded", view: View{Method: "GET", Path: "/a/x%20%C3%A9"}, want: `item id="x é"`},
		{what: "a literal before a wildcard", view: View{Method: "GET", Path: "/a/special"}, want: "special"},
		{what: "a wildcard is not empty", view: View{Method: "GET", Path: "/a/"}, want: "none"},
		{what: "the rest", view: View{Method: "GET", Path: "/a/special/x/y"}, want: `below rest="x/y"`},
		{what: "an empty rest", view: View{Method: "GET", Path: "/a/special/"}, want: `below rest=""`},
		{what: "a final slash takes all below", view: View{Method: "GET", Path: "/f/x/y"}, want: "folder"},
		{what: "a final slash is not without it", view: View{Method: "GET", Path: "/f"}, want: "none"},
		{what: "exactly the slash", view: View{Method: "GET", Path: "/g/"}, want: "exact"},
		{what: "nothing below the slash", view: View{Method: "GET", Path: "/g/x"}, want: "none"},
		{what: "two values in order", view: View{Method: "GET", Path: "/t/1/2"}, want: `two x="1" y="2"`},
		{what: "an escaped literal", view: View{Method: "GET", Path: "/e/a%20b"}, want: "escaped"},
		{what: "a host before no host", view: View{Method: "GET", Host: "one.example", Path: "/a/special"}, want: `here id="special"`},
		{what: "another host", view: View{Method: "GET", Host: "two.example", Path: "/a/special"}, want: "special"},
		{what: "a host without such a path", view: View{Method: "GET", Host: "one.example", Path: "/a"}, want: "list"},
		{what: "a header, first in the file", view: View{Method: "GET", Path: "/h"}, header: beta, want: "beta"},
		{what: "no header", view: View{Method: "GET", Path: "/h"}, want: "stable"},
		{what: "another value", view: View{Method: "GET", Path: "/h"}, header: http.Header{"X-Beta": {"2"}}, want: "stable"},
		{what: "HEAD of its own", view: View{Method: "HEAD", Path: "/h"}, header: beta, want: "head"},
		{what: "a header that fails leaves the less specific", view: View{Method: "GET", Path: "/i/1"}, want: `rest rest="1"`},
		{what: "back from a literal that leads nowhere", view: View{Method: "GET", Path: "/b/d/c"}, want: `deep x="d"`},
		{what: "no path", view: View{Method: "OPTIONS", Path: "*"}, want: "none"},
		{what: "an empty path", view: View{Method: "GET"}, want: "none"},
	} {
		if c.header != nil {
			c.view.Header = c.header
		}
		if got := show(s.Match(&c.view)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
		if got := s.Allowed(&c.view); c.want == "none" && !slices.Equal(got, c.allow) {
			t.Errorf("%s: Allow %v, want %v", c.what, got, c.allow)
		}
	}
}

func TestAllowIsEmptyWhereAnyMethodIsTaken(t *testing.T) {
	s := routesOf(t, `name: get, match: {methods: [GET], path: /a}`, `name: all, match: {path: "/{rest...}"}`, `name: other, match: {host: b.test, methods: [PUT], path: /b}`)
	for _, path := range []string{"/a", "/b"} {
		if got := s.Allowed(&View{Host: "b.test", Path: path}); len(got) > 0 {
			t.Errorf("%s: Allow %q, though a route takes any method", path, got)
		}
	}
}

func TestRoutesApartByHeaderDoNotConflict(t *testing.T) {
	s := routesOf(t,
		`name: one, match: {path: "/a/{x}", header: {X-Version: "1"}}`,
		`name: two, match: {path: "/{x}/b", header: {X-Version: "2"}}`,
	)
	for version, want := range map[string]string{"1": `one x="b"`, "2": `two x="a"`, "3": "none"} {
		v := &View{Method: "GET", Path: "/a/b", Header: http.Header{"X-Version": {version}}}
		if got := show(s.Match(v)); got != want {
			t.Errorf("version %s: got %s, want %s", version, got, want)
		}
	}
	if got := parseErrors(t, policyOf(
		`name: one, match: {path: "/a/{x}", header: {X-Version: "1"}}`,
		`name: two, match: {path: "/{x}/b", header: {X-Other: "2"}}`,
	), nil); !strings.Contains(got, `conflicts with route "one"`) {
		t.Errorf("both headers may stand in a request: %s", got)
	}
}

func TestMatchAllocatesNothingWithoutWildcards(t *testing.T) {
	s, err := Load(gatewayFile, empty)
	if err != nil {
		t.Fatal(err)
	}
	v := &View{Method: "GET", Host: "localhost", Path: "/api/v5/restaurants", Header: http.Header{}}
	if n := testing.AllocsPerRun(100, func() { s.Match(v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	s, err := Load(gatewayFile, empty)
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{"/api/v5/restaurants", "/api/v5/restaurants/1464", "/nothing/like/it"} {
		b.Run(path, func(b *testing.B) {
			v := &View{Method: "GET", Host: "localhost", Path: path, Header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				s.Match(v)
			}
		})
	}
}

// drawPattern draws a path pattern from a small alphabet, so that patterns meet.
func drawPattern(t *rapid.T) string {
	var path string
	n := rapid.IntRange(0, 3).Draw(t, "segments")
	for i := range n {
		path += "/" + rapid.SampledFrom([]string{"a", "b", "a%20b", fmt.Sprintf("{w%d}", i)}).Draw(t, "segment")
	}
	return path + rapid.SampledFrom([]string{"", "/", "/{$}", "/{rest...}"}).Draw(t, "end")
}

// TestMatchAgreesWithServeMux compares with net/http on random routes: which of
// them conflict, which one wins, and with which path values.
func TestMatchAgreesWithServeMux(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mux := http.NewServeMux()
		var routes []string
		for i := range rapid.IntRange(1, 6).Draw(t, "routes") {
			method := rapid.SampledFrom([]string{"", "GET", "HEAD", "POST"}).Draw(t, "method")
			host := rapid.SampledFrom([]string{"", "", "one.example", "two.example"}).Draw(t, "host")
			path := drawPattern(t)
			if path == "" {
				path = "/"
			}
			entry := fmt.Sprintf(`name: r%d, match: {methods: [%s], host: "%s", path: "%s"}`, i, method, host, path)
			_, err := Parse("p.yaml", []byte(policyOf(append(slices.Clone(routes), entry)...)), nil)
			conflict := register(mux, strings.TrimSpace(method+" "+host+path), fmt.Sprint("r", i))
			if (err != nil) != (conflict != nil) {
				t.Fatalf("%s after %q:\nhere:     %v\nServeMux: %v", entry, routes, err, conflict)
			}
			if err == nil {
				routes = append(routes, entry)
			}
		}
		s, err := Parse("p.yaml", []byte(policyOf(routes...)), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			compareMatch(t, s, mux)
		}
	})
}

// register adds a pattern whose handler answers as show does, and returns what
// ServeMux has against it.
func register(mux *http.ServeMux, pattern, name string) (conflict any) {
	defer func() { conflict = recover() }()
	p, err := parsePattern(pattern[strings.IndexByte(pattern, '/'):])
	if err != nil {
		return err
	}
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var params Params
		for _, n := range p.names() {
			params = append(params, Param{n, r.PathValue(n)})
		}
		_, _ = w.Write([]byte(show(&Route{Name: name}, params)))
	})
	return nil
}

func compareMatch(t *rapid.T, s *Snapshot, mux *http.ServeMux) {
	method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT"}).Draw(t, "request method")
	host := rapid.SampledFrom([]string{"one.example", "two.example", "other.example"}).Draw(t, "request host")
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "a%20b", "%61"}), 0, 4).Draw(t, "path")
	path := "/" + strings.Join(segments, "/")
	if len(segments) > 0 && rapid.Bool().Draw(t, "slash") {
		path += "/"
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(method, "http://"+host+path, nil))
	want := w.Body.String()
	view := &View{Method: method, Host: host, Path: path}
	switch {
	case w.Code >= 300 && w.Code < 400:
		return // ServeMux adds a slash, the gateway never redirects
	case w.Code == http.StatusMethodNotAllowed:
		want = "none"
		methods := s.Allowed(view)
		if !strings.HasSuffix(path, "/") { // ServeMux counts those too that it would redirect to a final slash
			methods = append(methods, s.Allowed(&View{Method: method, Host: host, Path: path + "/"})...)
			slices.Sort(methods)
			methods = slices.Compact(methods)
		}
		if allow := strings.Join(methods, ", "); allow != w.Header().Get("Allow") {
			t.Fatalf("%s %s%s: Allow %q, ServeMux %q", method, host, path, allow, w.Header().Get("Allow"))
		}
	case w.Code == http.StatusNotFound:
		want = "none"
		if allow := s.Allowed(view); len(allow) > 0 {
			t.Fatalf("%s %s%s: Allow %q, ServeMux 404", method, host, path, allow)
		}
	}
	if got := show(s.Match(view)); got != want {
		t.Fatalf("%s %s%s: got %s, ServeMux %s", method, host, path, got, want)
	}
}
