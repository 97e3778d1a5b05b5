package policy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

const nearPolicy = `
version: 1
upstreams: {app: {targets: ["http://127.0.0.1:5000"]}}
routes:
  - {name: beta, match: {methods: [GET], path: /api/restaurants, header: {X-Beta: "1"}}, upstream: app}
  - {name: list, match: {methods: [GET], path: /api/restaurants}, upstream: app}
  - {name: one, match: {methods: [GET], path: "/api/restaurants/{id}"}, upstream: app}
  - {name: write, match: {methods: [PUT, DELETE], path: "/api/restaurants/{id}"}, upstream: app}
  - {name: staff, match: {host: staff.example.org, path: /api/restaurants}, upstream: app}
  - {name: slash, match: {path: "/api/{$}"}, upstream: app}
  - {name: api, match: {path: "/api/"}, upstream: app}
  - {name: rest, match: {path: "/{rest...}"}, upstream: app}
`

func TestNear(t *testing.T) {
	s := mustParse(t, nearPolicy, nil)
	for _, c := range []struct{ says, method, path, taken, near string }{
		{"a method that the path has not", "POST", "/api/restaurants/7", "api", "rest: it is less specific than api; one: it takes GET; write: it takes PUT, DELETE"},
		{"equal patterns", "GET", "/api/restaurants", "list", "api: it is less specific than list; rest: it is less specific than list; beta: the header lacks the X-Beta that it matches"},
		{"the path alone differs", "PUT", "/api/restaurant/7", "api", "rest: it is less specific than api; write: the path differs from /api/restaurants/{id}; slash: the path differs from /api/{$}"},
	} {
		v := View{Method: c.method, Path: c.path, Host: "api.example.org", Header: http.Header{}}
		taken, _ := s.Match(&v)
		if taken == nil || taken.Name != c.taken {
			t.Fatalf("%s: takes %v, want %s", c.says, taken, c.taken)
		}
		got := ""
		for i, n := range s.Near(&v, taken, 3) {
			if i > 0 {
				got += "; "
			}
			got += n.Route.Name + ": " + n.Why
		}
		if got != c.near {
			t.Errorf("%s: got  %s\nwant %s", c.says, got, c.near)
		}
	}
}

// What Near says of the routes agrees with Match: of a policy with one route, that is either taken or
// missed.
func TestNearAgreesWithMatch(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	paths := []string{"/", "/a", "/a/", "/a/b", "/{x}", "/{x}/b", "/a/{x}", "/a/{x}/", "/a/{$}", "/a/{x...}", "/{x...}", "/{$}", "/%61/b"}
	for range 3000 {
		match := fmt.Sprintf("path: %q", pick(paths...))
		match += pick("", ", methods: [GET]", ", methods: [POST, HEAD]") + pick("", "", ", host: a.example") + pick("", "", `, header: {X-A: "1"}`)
		s := mustParse(t, fmt.Sprintf("version: 1\nupstreams: {app: {targets: [\"http://127.0.0.1:5000\"]}}\nroutes: [{name: r, match: {%s}, upstream: app}]\n", match), nil)
		v := View{Method: pick("GET", "HEAD", "POST"), Host: pick("a.example", "b.example"), Header: http.Header{}}
		v.Path = pick("/", "/a", "/a/", "/a/b", "/a/b/", "/%61/b", "/a//", "/b/b", "/a/b/c", "*")
		if random.IntN(2) == 0 {
			v.Header = http.Header{"X-A": {pick("1", "2")}}
		}
		taken, _ := s.Match(&v)
		near := s.Near(&v, nil, 3)
		if missed := near[0].Why != ""; missed == (taken != nil) {
			t.Fatalf("%s %s of %s, match %s: taken %v, but %q", v.Method, v.Path, v.Host, match, taken != nil, near[0].Why)
		}
	}
}
