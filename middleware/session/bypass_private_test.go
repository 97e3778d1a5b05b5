package session_test

import (
	"net/http"
	"testing"

	"github.com/jewgo/gateway/policy"
)

func init() {
	routes["/bypass"] = &policy.Route{Name: "bypass", Session: policy.SessionOptional, Cache: &policy.CacheRule{
		Key: []policy.Source{{Kind: policy.SourceHost}}, Bypass: []policy.Source{{Kind: policy.SourceSession}},
	}}
}

// A route with responses per session must mark them private: without Vary, a cache between the
// gateway and the client would serve them to everybody.
func TestAResponseThatOnlyASessionGetsIsPrivate(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	cookie := g.login("42")
	g.setUpstream(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		w.Header().Set("Edge-Cache-Control", "max-age=600")
	})
	for _, path := range []string{"/bypass", "/required"} {
		r := g.get(path, cookie)
		if got := r.Header.Get("Cache-Control"); got != "private, max-age=300" || r.Header.Get("Edge-Cache-Control") != "" {
			t.Errorf("%s: %v", path, r.Header)
		}
	}
}
