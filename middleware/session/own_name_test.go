package session_test

import (
	"testing"
)

// An upstream knows nothing of the session's cookie, and so does not replace it.
func TestAnUpstreamDoesNotReplaceTheSessionCookie(t *testing.T) {
	for _, path := range []string{"/optional", "/off"} {
		g := newOffload(t, nil)
		cookie := g.login("42")
		g.answer(cookieName+"=; Max-Age=0; Path=/; Secure; HttpOnly", "a=1")
		if r := g.get(path, cookie); r.set != nil {
			t.Errorf("%s: the browser loses its session by %v", path, r.set)
		}
	}
}
