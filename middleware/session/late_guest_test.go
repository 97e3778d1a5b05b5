package session_test

import (
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
			g.clock.sleep(time.Second)
			g.give("/optional", guest, "access_token=t; HttpOnly; Path=/")
		})
		g.upstreamGets("then", "/optional", guest, "access_token=t")
	})
}
