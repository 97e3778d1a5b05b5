package session_test

import (
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/test/env"
)

// A gateway that had to drop a revocation does not know of the sessions from before
// whether they were ended: none of them is renewed, so that a copied cookie dies with
// its idle deadline. Later ones are.
func TestSessionsAreNotRenewedBeyondForgottenRevocations(t *testing.T) {
	c := env.NewClock(start)
	g := newGateway(t, ringOf(t, "a"), memory.NewSessions(memory.SessionsConfig{Revocations: 1, Now: func() time.Time { return c.Now() }}))
	g.clock = c
	copied := g.login("42")
	g.get("/signal", copied, "logout")
	c.Advance(time.Second)
	older := g.login("43")
	g.get("/signal", g.login("44"), "logout") // of the two logouts one is dropped
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

// A logout of all sessions outlasts those that were begun when sessions lived longer.
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
