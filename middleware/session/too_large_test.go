package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/test/env"
)

// fullGuest is a guest whose cookies only fit into the record, beside a value of that many bytes.
func fullGuest(t *testing.T, g *gateway, value int) (cookie, cookies string) {
	t.Helper()
	one, two := "session="+strings.Repeat("x", 3500), "access_token="+strings.Repeat("y", 1000)
	cookie, _ = g.give("/optional", "", one+"; HttpOnly; Path=/", two+"; HttpOnly; Path=/")
	g.say(`set {"cart":"` + strings.Repeat("v", value) + `"}`)
	if r := g.get("/signal", cookie); r.cookie == "" || r.ex.Facts.Session != "valid" {
		t.Fatalf("no full record: %q", r.ex.Facts.Reason)
	} else {
		cookie = r.cookie
	}
	g.answer()
	return cookie, one + "; " + two
}

// room returns the most bytes of a value that fit beside fullGuest's cookies.
func room(t *testing.T, g *gateway) int {
	t.Helper()
	cookie, _ := fullGuest(t, g, 1)
	seal, err := session.NewSealer(ringOf(t, "a")).Open(cookieName, host, cookie, g.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	rec, err := g.store.Store.Load(t.Context(), seal.Ref())
	if err != nil {
		t.Fatal(err)
	}
	b, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return 1 + 16<<10 - len(b)
}

// A guest's values and cookies must not prevent a login.
func TestALoginLeavesBehindWhatDoesNotFit(t *testing.T) {
	t.Run("values beside cookies", func(t *testing.T) {
		g := newOffload(t, nil)
		guest, cookies := fullGuest(t, g, room(t, g))
		r := g.get("/signal", guest, `login {"user":"42"}`)
		if r.cookie == "" || !strings.Contains(r.ex.Facts.Reason, "values") {
			t.Fatalf("no login, or no word of what is left behind: %v, %q", r.set, r.ex.Facts.Reason)
		}
		g.expect("the guest", guest, "", "revoked")
		g.expect("the user", r.cookie, "42", "valid")
		g.upstreamGets("of the cookies", "/optional", r.cookie, cookies)
		if v := g.values(r.cookie); len(v) != 0 {
			t.Errorf("%d values", len(v))
		}
	})
	t.Run("values alone", func(t *testing.T) {
		g := newGateway(t, ringOf(t, "a"), nil)
		g.say(`set {"cart":"` + strings.Repeat("v", 16<<10-100) + `"}`)
		guest := g.get("/signal", "").cookie
		g.setUpstream(nil)
		r := g.get("/signal", guest, `login {"user":"`+strings.Repeat("u", 100)+`"}`)
		if r.cookie == "" || !strings.Contains(r.ex.Facts.Reason, "values") {
			t.Fatalf("no login, or no word of what is left behind: %v, %q", r.set, r.ex.Facts.Reason)
		}
		if r = g.get("/signal", r.cookie, `set {"a":"1"}`); g.values(r.cookie)["a"] != "1" {
			t.Errorf("the values are %v", g.values(r.cookie))
		}
	})
	t.Run("cookies that no record takes", func(t *testing.T) {
		store := &fullStore{Store: memory.NewSessions(memory.SessionsConfig{Now: env.NewClock(start).Now})}
		g := newOffload(t, store)
		guest, _ := fullGuest(t, g, 1)
		store.full = true
		r := g.get("/signal", guest, `login {"user":"42"}`)
		if r.cookie == "" || !strings.Contains(r.ex.Facts.Reason, "cookies") {
			t.Fatalf("no login, or no word of what is left behind: %v, %q", r.set, r.ex.Facts.Reason)
		}
		g.expect("the user", r.cookie, "42", "valid")
		g.upstreamGets("of the cookies", "/optional", r.cookie, "")
	})
}

// A guest's value that does not fit starts no session, and deletes no cookie that the browser may
// have got meanwhile.
func TestAGuestsValueThatDoesNotFitBeginsNoSession(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	g.say(`set {"cart":"` + strings.Repeat("v", 16<<10) + `"}`)
	if r := g.get("/signal", ""); r.set != nil || !strings.Contains(r.ex.Facts.Reason, "too large") {
		t.Errorf("cookie %v, reason %q", r.set, r.ex.Facts.Reason)
	}
}

// fullStore writes nothing once it is full.
type fullStore struct {
	session.Store
	full bool
}

func (s *fullStore) Save(ctx context.Context, key string, rec session.Record) error {
	if s.full {
		return errors.New("out of memory")
	}
	return s.Store.Save(ctx, key, rec)
}

// say has the upstream send a signal that is too long for a query.
func (g *gateway) say(signal string) {
	g.setUpstream(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Gw-Session", signal) })
}

// A cookie that does not fit beside the session's values goes to the browser, and is passed to the
// upstream when the browser sends it.
func TestACookieThatDoesNotFitBesideTheValuesComesBack(t *testing.T) {
	const pad = 100 // bytes that are left: enough to remember a name
	big := strings.Repeat("b", 1500)
	for says, set := range map[string][]string{
		"another path":      {"session=" + big + "; HttpOnly; Path=/optional"},
		"in place of one":   {"session=" + big + strings.Repeat("b", 2500) + "; HttpOnly; Path=/"},
		"once again":        {"session=" + big + "; HttpOnly; Path=/optional", "session=" + big + "; HttpOnly; Path=/optional"},
		"beside a deletion": {"session=" + big + "; HttpOnly; Path=/optional", "access_token=; Max-Age=0; Path=/optional"},
	} {
		t.Run(says, func(t *testing.T) {
			g := newOffload(t, nil)
			cookie, _ := fullGuest(t, g, room(t, g)-pad)
			cookie, others := g.give("/optional", cookie, set...)
			if len(others) == 0 || others[0] != set[0] || !strings.Contains(g.last.Facts.Reason, "does not fit beside") {
				t.Fatalf("the browser got %d cookies (%s)", len(others), g.last.Facts.Reason)
			}
			value, _, _ := strings.Cut(set[0], ";")
			if r := g.get("/optional", cookie+"; "+value); !strings.Contains(r.body, value) {
				t.Errorf("the upstream did not get it from the browser: %d bytes", len(r.body))
			}
			if says == "in place of one" {
				g.upstreamGets("of the one before", "/optional", cookie, "access_token="+strings.Repeat("y", 1000))
			}
			if v := g.values(cookie)["cart"]; v == "" {
				t.Error("the values are lost")
			}
		})
	}
	t.Run("beside cookies in a seal that no store helps", func(t *testing.T) {
		g := newOffload(t, deafStore{})
		cookie, _ := g.give("/optional", "", "session="+strings.Repeat("s", 2000)+"; HttpOnly; Path=/")
		cookie, others := g.give("/optional", cookie, "access_token="+big+"; HttpOnly; Path=/")
		if len(others) != 1 {
			t.Fatalf("the browser got %d cookies (%s)", len(others), g.last.Facts.Reason)
		}
		if r := g.get("/optional", cookie+"; access_token="+big); !strings.Contains(r.body, "access_token="+big) {
			t.Errorf("the upstream did not get it from the browser: %d bytes", len(r.body))
		}
	})
}
