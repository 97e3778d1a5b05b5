package session_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/jewgo/gateway/policy"
)

// slowly asks for path and lets meanwhile happen while the upstream thinks; then it
// answers with the signal and the cookies.
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

// Who signs in after the deadline has another cookie, and the old session was not
// ended for it, since it was over.
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
