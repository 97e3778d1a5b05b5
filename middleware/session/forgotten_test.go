package session_test

import (
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/test/env"
)

// After dropping a revocation, a gateway does not know which earlier sessions were revoked. It
// renews none of them, so that a copied cookie expires at its idle deadline. Later ones are renewed.
func TestSessionsAreNotRenewedBeyondForgottenRevocations(t *testing.T) {
	c := env.NewClock(start)
	g := newGateway(t, ringOf(t, "a"), memory.NewSessions(memory.SessionsConfig{Revocations: 1, Now: func() time.Time { return c.Now() }}))
	g.clock = c
	copied := g.login("42")
	g.get("/signal", copied, "logout")
	c.Advance(time.Second)
	older := g.login("43")
	g.get("/signal", g.login("44"), "logout") // one of the two logouts is dropped
	g.expect("before its idle deadline", copied, "42", "valid")
	c.Advance(time.Second)
	newer := g.login("45")
	c.Advance(15 * time.Minute)
	for _, tt := range []struct {
		says, cookie string
		renewed      bool
	}{{"a copy of the session that was ended", copied, false}, {"a later one", older, true}, {"the newest", newer, true}} {
		if r := g.get("/optional", tt.cookie); (r.cookie != "") != tt.renewed || r.ex.Facts.Session != "valid" {
			t.Errorf("%s: renewed %v, session %q; want %v", tt.says, r.cookie != "", r.ex.Facts.Session, tt.renewed)
		}
	}
	c.Advance(16 * time.Minute)
	g.expect("after its idle deadline", copied, "", "expired")
	c.Advance(24 * time.Hour) // when the revocation would have ended
	late := g.login("46")
	c.Advance(15 * time.Minute)
	if g.get("/optional", late).cookie == "" {
		t.Error("sessions are never renewed again")
	}
}

// logout-all also covers sessions that began under a policy with a longer lifetime.
func TestLogoutAllReachesSessionsOfALongerPolicy(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	g.settings.Idle, g.settings.Absolute = g.settings.Absolute*20, g.settings.Absolute*20
	old := g.login("42")
	g.settings.Idle, g.settings.Absolute = g.settings.Idle/480, g.settings.Absolute/20
	g.clock.Advance(time.Second)
	g.get("/signal", g.login("42"), "logout-all")
	g.clock.Advance(25 * time.Hour)
	g.expect("an older session, later", old, "", "revoked")
}
