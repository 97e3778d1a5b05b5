package session_test

import (
	"testing"
)

// What moves along with a login is what the session has then.
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
