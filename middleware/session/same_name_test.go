package session_test

import (
	"net/http"
	"strings"
	"testing"
)

// To PHP a dot is an underscore, and the first of two counts: another host of the
// domain could plant it.
func TestABrowserBringsNoOtherSpellingOfAKeptCookie(t *testing.T) {
	g := newOffload(t, nil)
	cookie, _ := g.give("/optional", "", "access_token=own; HttpOnly; Path=/")
	for _, own := range []string{"", cookieName + "=" + cookie + "; "} {
		r, err := http.NewRequest(http.MethodGet, g.server.URL+"/optional", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", own+"access.token=forged; a=1")
		if got := g.do(r).body; strings.Contains(got, "forged") {
			t.Errorf("the upstream got %q", strings.TrimPrefix(got, own))
		}
	}
}
