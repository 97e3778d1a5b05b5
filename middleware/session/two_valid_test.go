package session_test

import (
	"testing"
)

// At a logout, a browser with two session cookies loses only one of them. Both sessions must end.
func TestALogoutEndsAllSessionsThatTheBrowserBrought(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	one, two := g.login("42"), g.login("42")
	if got := g.getBoth(one, two, "logout"); got.set == nil || got.cookie != "" {
		t.Fatalf("no logout: %v", got.Header)
	}
	g.expect("the first", one, "", "revoked")
	g.expect("the second", two, "", "revoked")
}

// A login only replaces the cookie of one session; the browser would go on sending the other.
func TestALoginEndsAllSessionsThatTheBrowserBrought(t *testing.T) {
	t.Run("in one call of the store", func(t *testing.T) {
		g := newGateway(t, ringOf(t, "a"), nil)
		one, two := g.login("42"), g.login("43")
		next := g.getBoth(one, two, `login {"user":"7"}`).cookie
		g.expect("the first", one, "", "revoked")
		g.expect("the second", two, "", "revoked")
		g.expect("the new one", next, "7", "valid")
		if n := g.store.revokes.Load(); n != 1 {
			t.Errorf("%d calls of Revoke, want 1", n)
		}
	})
	t.Run("though the first ended meanwhile", func(t *testing.T) {
		g := newGateway(t, ringOf(t, "a"), nil)
		one, two := g.login("42"), g.login("43")
		next := g.slowly("/signal", one+"; "+cookieName+"="+two, `login {"user":"7"}`, nil, func() {
			g.get("/signal", one, "logout")
		}).cookie
		g.expect("the second", two, "", "revoked")
		g.expect("the new one", next, "7", "valid")
	})
}

// getBoth is get with two session cookies.
func (g *gateway) getBoth(one, two, say string) reply {
	g.t.Helper()
	return g.get("/signal", one+"; "+cookieName+"="+two, say)
}
