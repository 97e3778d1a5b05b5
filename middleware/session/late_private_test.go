package session_test

import (
	"testing"
	"time"
)

// What was made for a session is its own, though it ended meanwhile.
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
