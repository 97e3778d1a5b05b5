package session_test

import (
	"fmt"
	"slices"
	"testing"
)

func TestTheEndOfASessionIsTold(t *testing.T) {
	for _, tt := range []struct {
		says string
		say  string // "": no signal
		want string // "": nothing
	}{
		{"a logout", "logout", "%s of \"42\", everywhere false"},
		{"a logout of all the user's sessions", "logout-all", "%s of \"42\", everywhere true"},
		{"a login in its place", `login {"user":"7"}`, "%s of \"42\", everywhere false"},
		{"a new value", `set {"a":"b"}`, ""},
		{"an ordinary request", "", ""},
	} {
		t.Run(tt.says, func(t *testing.T) {
			g := newGateway(t, ringOf(t, "a"), nil)
			cookie := g.login("42")
			id := g.get("/signal", cookie).ex.Principal.SessionID
			var say []string
			if tt.say != "" {
				say = []string{tt.say}
			}
			g.get("/signal", cookie, say...)
			g.get("/signal", "", say...) // without a session, nothing ends
			var want []string
			if tt.want != "" {
				want = []string{fmt.Sprintf(tt.want, id)}
			}
			if !slices.Equal(g.ended, want) {
				t.Errorf("told %q, want %q", g.ended, want)
			}
		})
	}
}
