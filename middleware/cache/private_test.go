package cache_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/jewgo/gateway/internal/exchange"
)

func (e *edge) endSession(everywhere bool) {
	e.Helper()
	if err := e.cache.EndSession(e.Context(), e.exchange(), everywhere); err != nil {
		e.Fatal(err)
	}
}

func TestTheEndOfASessionDropsItsEntries(t *testing.T) {
	e := newEdge(t, onePolicy(`{ttl: 60s, key: [session]}`))
	e.upstreamSays(says("body"))
	who := func(session, user string) []string { return []string{"X-Test-Session", session, "X-Test-User", user} }
	phone, laptop, other, guest := who("s1", "42"), who("s2", "42"), who("s3", "7"), who("s4", "")
	hits := func(when string, want ...bool) {
		t.Helper()
		for i, header := range [][]string{phone, laptop, other, guest, nil} {
			if got := e.get("/a", header...); got.status != http.StatusOK || (got.cacheStatus()[:9] == "edge; hit") != want[i] {
				t.Errorf("%s, %v: %d with Cache-Status %q; hit: %v", when, header, got.status, got.cacheStatus(), want[i])
			}
		}
	}
	hits("at first", false, false, false, false, false)
	hits("then", true, true, true, true, true)
	e.get("/a", phone...)
	e.endSession(false)
	hits("after the phone's logout", false, true, true, true, true)
	e.get("/a", guest...)
	e.endSession(true) // without a session
	hits("after the guest's", true, true, true, false, true)
	e.get("/a", laptop...)
	e.endSession(true)
	hits("after the logout of all the user's sessions", false, false, true, true, true)
}

func TestTheEndOfManySessionsDropsTheirEntries(t *testing.T) {
	e := newEdge(t, onePolicy(`{ttl: 60s, key: [session]}`))
	e.upstreamSays(says("body"))
	all := [][]string{{"X-Test-Session", "s1", "X-Test-User", "42"}, {"X-Test-Session", "s2", "X-Test-User", "42"}, {"X-Test-Session", "s3", "X-Test-User", "7"}, {"X-Test-Session", "s4"}}
	for _, tt := range []struct {
		who  exchange.Principal
		want [4]bool // those that stay
	}{
		{exchange.Principal{SessionID: "s2"}, [4]bool{true, false, true, true}},
		{exchange.Principal{User: "42"}, [4]bool{false, false, true, true}},
		{exchange.Principal{}, [4]bool{}},
	} {
		for _, who := range all {
			e.get("/a", who...)
		}
		if err := e.cache.EndSessions(t.Context(), e.exchange().Snapshot, tt.who); err != nil {
			t.Fatal(err)
		}
		for i, who := range all {
			if r := e.get("/a", who...); (r.cacheStatus()[:9] == "edge; hit") != tt.want[i] {
				t.Errorf("after the end of %+v, for %v: %s", tt.who, who, r.cacheStatus())
			}
		}
	}
}

// TestASessionsEndCostsNothingWithoutPrivateEntries checks that a logout asks no store if the
// policy has no private entries.
func TestASessionsEndCostsNothingWithoutPrivateEntries(t *testing.T) {
	e := newEdge(t, onePolicy(`{ttl: 60s}`))
	e.upstreamSays(says("body"))
	before := e.tags.Marks([]string{"session:s1"})
	e.get("/a", "X-Test-Session", "s1")
	e.endSession(false)
	if after := e.tags.Marks([]string{"session:s1"}); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a purge where nothing is private: %v, then %v", before, after)
	}
	if err := e.cache.EndSession(t.Context(), &exchange.Exchange{}, true); err != nil {
		t.Errorf("the end of no session: %v", err)
	}
}

// TestCORSIsOfOneOrigin checks that no origin gets the permissions of another, although the
// upstream sends no Vary.
func TestCORSIsOfOneOrigin(t *testing.T) {
	for _, section := range []string{`{ttl: 60s}`, `{mode: strict}`} {
		e := newEdge(t, onePolicy(section))
		e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			if origin := r.Header.Get("Origin"); origin != "" {
				w.Header().Set("Access-Control-Allow-Origin", origin)
				w.Header().Set("Access-Control-Allow-Credentials", "true")
			}
		})
		for _, origin := range []string{"https://a.test", "https://b.test", "https://a.test"} {
			if got := e.get("/a", "Origin", origin); got.header.Get("Access-Control-Allow-Origin") != origin {
				t.Errorf("%s: %s gets Access-Control-Allow-Origin %q, with Cache-Status %q", section, origin, got.header.Get("Access-Control-Allow-Origin"), got.cacheStatus())
			}
		}
		if got := e.get("/a"); got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: a request without Origin gets Access-Control-Allow-Origin %q", section, got.header.Get("Access-Control-Allow-Origin"))
		}
	}
}

// TestStarIsForEveryOrigin checks that a response for all origins is stored once.
func TestStarIsForEveryOrigin(t *testing.T) {
	e := newEdge(t, onePolicy(`{mode: strict}`))
	e.upstreamSays(says("body", "Access-Control-Allow-Origin", "*", "Cache-Control", "max-age=60"))
	e.get("/a", "Origin", "https://a.test")
	e.expect("another origin", e.get("/a", "Origin", "https://b.test"), "body", "edge; hit")
}
