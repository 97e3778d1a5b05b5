package session_test

import (
	"net/http"
	"strings"
	"testing"
)

// Some upstreams split cookies at commas too (RFC 2109), and Python's SimpleCookie at
// spaces.
func TestABrowserHidesNoKeptCookieInAnothersValue(t *testing.T) {
	g := newOffload(t, nil)
	for _, line := range []string{"a=1, session=forged", "a=1 session=forged", "a=1,session=forged"} {
		r, err := http.NewRequest(http.MethodGet, g.server.URL+"/optional", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", line)
		if got := g.do(r).body; strings.Contains(got, "forged") {
			t.Errorf("%q: the upstream got %q", line, got)
		}
	}
}
