package session_test

import (
	"strings"
	"testing"
	"time"
)

// A guest whose last cookie is deleted leaves, but not once it is somebody, or has
// something else meanwhile.
func TestALateDeletionOfAGuestsLastCookieTakesNothingElse(t *testing.T) {
	deletion := []string{"session=; Max-Age=0; Path=/; HttpOnly"}
	t.Run("after a login", func(t *testing.T) {
		g := newOffload(t, nil)
		guest, _ := g.give("/optional", "", "session=guest; HttpOnly; Path=/")
		var user string
		r := g.slowly("/optional", guest, "", deletion, func() {
			user = g.get("/signal", guest, `login {"user":"42"}`).cookie
		})
		g.expect("the login", user, "42", "valid")
		if r.set != nil {
			t.Errorf("the answer to the guest takes the login's cookie from the browser: %v", r.set)
		}
	})
	t.Run("after a value", func(t *testing.T) {
		g := newOffload(t, nil)
		guest, _ := g.give("/optional", "", "session=guest; HttpOnly; Path=/")
		g.slowly("/optional", guest, "", deletion, func() { g.get("/signal", guest, `set {"cart":"3"}`) })
		g.expect("a guest with a cart", guest, "", "valid")
	})
	t.Run("after another cookie", func(t *testing.T) {
		g := newOffload(t, nil)
		guest, _ := g.give("/optional", "", "session=guest; HttpOnly; Path=/")
		g.slowly("/optional", guest, "", deletion, func() {
			g.clock.Advance(time.Second)
			g.give("/optional", guest, "access_token=t; HttpOnly; Path=/")
		})
		g.upstreamGets("then", "/optional", guest, "access_token=t")
	})
}

// A guest's request that arrives after the login, with the cookie that the login
// replaces, begins no other session: the browser would lose the cookie of the login.
func TestAGuestsRequestThatALoginOvertookSetsNoCookie(t *testing.T) {
	kept := []string{"session=late; HttpOnly; Path=/"}
	for says, ask := range map[string]func(g *gateway, guest string) reply{
		"a value":  func(g *gateway, guest string) reply { return g.get("/signal", guest, `set {"cart":"4"}`) },
		"a logout": func(g *gateway, guest string) reply { return g.get("/signal", guest, "logout") },
		"a cookie that stays": func(g *gateway, guest string) reply {
			g.answer(kept...)
			defer g.answer()
			return g.get("/optional", guest)
		},
		"a value, overtaken half-way": func(g *gateway, guest string) reply {
			return g.slowly("/signal", guest, `set {"cart":"4"}`, nil, func() { g.get("/signal", guest, `login {"user":"42"}`) })
		},
		"a cookie that stays, overtaken half-way": func(g *gateway, guest string) reply {
			return g.slowly("/optional", guest, "", kept, func() { g.get("/signal", guest, `login {"user":"42"}`) })
		},
	} {
		t.Run(says, func(t *testing.T) {
			g := newOffload(t, nil)
			guest := g.get("/signal", "", `set {"cart":"3"}`).cookie
			if !strings.Contains(says, "half-way") {
				g.get("/signal", guest, `login {"user":"42"}`)
			}
			r := ask(g, guest)
			if r.Header["Set-Cookie"] != nil || !strings.Contains(r.ex.Facts.Reason, "ended meanwhile") {
				t.Errorf("the browser gets %q (%s)", r.Header["Set-Cookie"], r.ex.Facts.Reason)
			}
		})
	}
	t.Run("but a login does", func(t *testing.T) {
		g := newOffload(t, nil)
		guest := g.get("/signal", "", `set {"cart":"3"}`).cookie
		g.get("/signal", guest, `login {"user":"42"}`)
		g.answer(kept...)
		next := g.get("/signal", guest, `login {"user":"42"}`).cookie
		g.answer()
		g.upstreamGets("the login's own", "/optional", next, "session=late")
	})
	t.Run("and a session that is alive", func(t *testing.T) {
		g := newOffload(t, nil)
		guest := g.get("/signal", "", `set {"cart":"3"}`).cookie
		user := g.get("/signal", guest, `login {"user":"42"}`).cookie
		if r := g.getBoth(guest, user, `set {"cart":"4"}`); g.values(user)["cart"] != "4" {
			t.Errorf("the values are %v (%s)", g.values(user), r.ex.Facts.Reason)
		}
	})
	t.Run("and a guest after the end of a user's session", func(t *testing.T) {
		g := newOffload(t, nil)
		user := g.login("42")
		g.clock.Advance(time.Second)
		g.get("/signal", g.login("42"), "logout-all")
		if g.get("/signal", user, `set {"cart":"4"}`).cookie == "" {
			t.Error("no session for the guest")
		}
	})
}
