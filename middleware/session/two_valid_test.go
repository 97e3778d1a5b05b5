package session_test

import (
	"net/http"
	"testing"
)

// A browser that brings two sessions loses the cookie of one at a logout and keeps
// the other: neither may be left that counts.
func TestALogoutEndsAllSessionsThatTheBrowserBrought(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	one, two := g.login("42"), g.login("42")
	r, err := http.NewRequest(http.MethodGet, g.server.URL+"/signal?say=logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", cookieName+"="+one+"; "+cookieName+"="+two)
	if got := g.do(r); got.set == nil || got.cookie != "" {
		t.Fatalf("no logout: %v", got.Header)
	}
	g.expect("the first", one, "", "revoked")
	g.expect("the second", two, "", "revoked")
}
