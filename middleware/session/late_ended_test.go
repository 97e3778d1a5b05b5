package session_test

import (
	"testing"
)

// A session that was ended, maybe because its cookie was stolen, leaves its cookies
// and values to no login whose answer was under way.
func TestALoginTakesNothingOfASessionThatEndedMeanwhile(t *testing.T) {
	g := newOffload(t, nil)
	cookie := g.login("42")
	cookie = g.get("/signal", cookie, `set {"a":"1"}`).cookie
	cookie, _ = g.give("/optional", cookie, "session=s; HttpOnly; Path=/")
	next := g.slowly("/signal", cookie, `login {"user":"42"}`, nil, func() {
		g.get("/signal", cookie, "logout")
	}).cookie
	if next == "" {
		return // a way too
	}
	if v := g.values(next); len(v) != 0 {
		t.Errorf("values of the ended session: %v", v)
	}
	g.upstreamGets("the ended session's cookies", "/optional", next, "")
}
