package session_test

import (
	"testing"
)

// The answer to a logout ends the session that it was asked in. If another one has
// replaced it meanwhile, either that ends too or its cookie stays.
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
