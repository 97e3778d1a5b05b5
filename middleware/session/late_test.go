package session_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/policy"
)

// slowly requests path and calls meanwhile before the upstream answers with the signal and cookies.
func (g *gateway) slowly(path, cookie, say string, set []string, meanwhile func()) reply {
	g.t.Helper()
	arrived, open := make(chan struct{}), make(chan struct{})
	g.setUpstream(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-open
		if say != "" {
			w.Header().Set("X-Gw-Session", say)
		}
		w.Header()["Set-Cookie"] = set
		w.Header().Set("Cache-Control", "max-age=300")
		w.Header().Set("Edge-Cache-Control", "max-age=600")
		_, _ = io.WriteString(w, "slow")
	})
	slow := make(chan reply)
	go func() { slow <- g.get(path, cookie) }()
	<-arrived
	g.answer()
	meanwhile()
	close(open)
	r := <-slow
	g.answer()
	return r
}

// A login after the deadline gets a new cookie. The old session is not revoked then, since it had
// expired.
func TestASlowResponseRevivesNoExpiredSession(t *testing.T) {
	for says, absolute := range map[string]time.Duration{"idle": 24 * time.Hour, "absolute": 31 * time.Minute} {
		for _, say := range []string{"", `set {"a":"1"}`} {
			t.Run(says+", answered with "+say, func(t *testing.T) {
				g := newGateway(t, ringOf(t, "a"), nil)
				g.settings.Absolute = policy.Duration(absolute)
				cookie := g.login("42")
				g.clock.Advance(29 * time.Minute)
				r := g.slowly("/signal", cookie, say, nil, func() {
					g.clock.Advance(3 * time.Minute)
					g.expect("past the deadline", cookie, "", "expired")
					if g.get("/signal", cookie, `login {"user":"7"}`).cookie == "" {
						t.Fatal("no login")
					}
				})
				if r.set != nil {
					t.Errorf("in place of the new session's cookie the browser gets %v", r.set)
					if r.cookie != "" {
						t.Logf("which is user %q again", g.get("/optional", r.cookie).ex.Principal.User)
					}
				}
			})
		}
	}
}

// A session may be revoked because its cookie was stolen. A login that is under way then must not
// take over its cookies and values.
func TestALoginTakesNothingOfASessionThatEndedMeanwhile(t *testing.T) {
	g := newOffload(t, nil)
	cookie := g.login("42")
	cookie = g.get("/signal", cookie, `set {"a":"1"}`).cookie
	cookie, _ = g.give("/optional", cookie, "session=s; HttpOnly; Path=/")
	next := g.slowly("/signal", cookie, `login {"user":"42"}`, nil, func() {
		g.get("/signal", cookie, "logout")
	}).cookie
	if next == "" {
		return // this is allowed too
	}
	if v := g.values(next); len(v) != 0 {
		t.Errorf("values of the ended session: %v", v)
	}
	g.upstreamGets("the ended session's cookies", "/optional", next, "")
}

// Deleting a guest's last cookie ends the session, unless the guest logged in or got another value
// or cookie meanwhile.
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

// A guest's request that arrives after the login with the replaced cookie must not start another
// session: the browser would lose the login's cookie.
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
			if r.Header["Set-Cookie"] != nil || !strings.Contains(r.ex.Facts.Reason, "has ended") {
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

// A login keeps the values that the session has at that moment.
func TestALoginTakesAlongWhatWasWrittenMeanwhile(t *testing.T) {
	g := newOffload(t, nil)
	guest := g.get("/signal", "", `set {"cart":"1"}`).cookie
	user := g.slowly("/signal", guest, `login {"user":"42"}`, nil, func() {
		guest = g.get("/signal", guest, `set {"cart":"2"}`).cookie
		guest, _ = g.give("/optional", guest, "session=s; HttpOnly; Path=/")
	}).cookie
	if v := g.values(user); v["cart"] != "2" {
		t.Errorf("the values are %v, want cart 2", v)
	}
	g.upstreamGets("after the login", "/optional", user, "session=s")
}

// A logout ends the session of its request. If another session has replaced it meanwhile, either
// that one ends too or its cookie stays.
func TestALateLogoutOfAReplacedSessionLeavesTheNextOne(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	first := g.login("42")
	var next string
	r := g.slowly("/signal", first, "logout", nil, func() {
		next = g.get("/signal", first, `login {"user":"42"}`).cookie
	})
	alive := g.get("/optional", next).ex.Facts.Session == "valid"
	if cleared := r.set != nil; alive && cleared {
		t.Error("the next session lives on, and the browser has lost its cookie")
	}
}

// A response made for a session stays private even if the session has ended meanwhile.
func TestAResponseToASessionThatEndedMeanwhileIsPrivate(t *testing.T) {
	for says, end := range map[string]func(g *gateway, cookie string){
		"ended":    func(g *gateway, cookie string) { g.get("/signal", cookie, "logout") },
		"replaced": func(g *gateway, cookie string) { g.get("/signal", cookie, `login {"user":"7"}`) },
		"expired":  func(g *gateway, _ string) { g.clock.Advance(25 * time.Hour) },
	} {
		t.Run(says, func(t *testing.T) {
			g := newGateway(t, ringOf(t, "a"), nil)
			cookie := g.login("42")
			g.clock.Advance(20 * time.Minute) // worth a new cookie
			r := g.slowly("/mine", cookie, "", nil, func() { end(g, cookie) })
			if r.ex.Principal.User != "42" {
				t.Fatalf("made for %+v", r.ex.Principal)
			}
			if got := r.Header.Get("Cache-Control"); got != "private, max-age=300" || r.Header.Get("Edge-Cache-Control") != "" {
				t.Errorf("what was made for user 42 goes to shared caches: %v", r.Header)
			}
		})
	}
}
