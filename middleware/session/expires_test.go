package session_test

import (
	"strings"
	"testing"
	"time"
)

// Expires counts as in a browser, which knows more ways to write a date than one
// (RFC 6265, 5.1.1).
func TestExpiresIsReadAsBrowsersDo(t *testing.T) {
	at := start.Add(10 * time.Minute).UTC()
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", "Mon, 02-Jan-2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", "Mon, 02-Jan-06 15:04:05 GMT", "Mon Jan _2 15:04:05 2006", "Mon, 2 Jan 2006 15:04:05 GMT", "Mon, 02 Jan 2006 15:04:05 UTC", "Mon, 02 Jan 2006 15:04:05 +0000"} {
		g := newOffload(t, nil)
		cookie, _ := g.give("/optional", "", "session=abc; HttpOnly; Path=/; Expires="+at.Format(layout))
		g.clock.Advance(11 * time.Minute)
		if got := g.get("/optional", cookie).body; strings.Contains(got, "session=abc") {
			t.Errorf("%s: still there", at.Format(layout))
		}
	}
}
