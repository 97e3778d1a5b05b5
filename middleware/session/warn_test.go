package session_test

import (
	"strings"
	"testing"
	"time"
)

// A malformed signal is warned of with the right form beside it, once per route and minute, and never
// with its text, which may hold a secret.
func TestAMalformedSignalIsWarnedOf(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	for _, tt := range []struct{ path, signal, says, write string }{
		{"/signal", `login user=hunter2`, "malformed", `X-Gw-Session: login {\"user\":\"42\",\"roles\":[\"editor\"]}`},
		{"/signal", `hunter2`, "unknown verb", `X-Gw-Session: login {`},
		{"/signal", `set hunter2`, "malformed", `X-Gw-Session: set {\"key\":\"value\",\"gone\":null}`},
		{"/signal", `Logout hunter2`, "malformed", `write="X-Gw-Session: logout"`},
		{"/optional", `logout`, "ignored on this route", "session_signal: true"},
		{"/off", `logout`, "ignored on this route", "session_signal: true"},
	} {
		g.clock.Advance(time.Minute)
		g.get(tt.path, "", tt.signal)
		line := g.logged()
		if strings.Count(line, "level=WARN") != 1 || !strings.Contains(line, tt.says) || !strings.Contains(line, tt.write) ||
			!strings.Contains(line, "route="+strings.TrimPrefix(tt.path, "/")) || strings.Contains(line, "hunter2") {
			t.Errorf("%s: %s", tt.signal, line)
		}
		g.clock.Advance(59 * time.Second)
		if g.get(tt.path, "", tt.signal); g.logged() != "" {
			t.Errorf("%s: warned of twice in a minute", tt.signal)
		}
	}
	if g.get("/signal", "", "logout"); g.logged() != "" {
		t.Error("warned of a good one")
	}
}
