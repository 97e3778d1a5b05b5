package session_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestPagesOfOtherOriginsMayNotUseTheSession(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	g.cors.Origins = []string{"https://jewgo.app", "https://*.jewgo.app"}
	g.settings.TrustedOrigins = []string{"https://forms.example.org"}
	cookie := g.login("42")
	for _, tt := range []struct {
		says, method, path string
		header             []string
		without            bool // without the session cookie
		refused            bool
	}{
		{says: "the gateway's own page", header: []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://api.example.org"}},
		{says: "a person, by an address bar or a bookmark", header: []string{"Sec-Fetch-Site", "none"}},
		{says: "a client that is not a browser", header: nil},
		{says: "another site", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, refused: true},
		{says: "another site that hides", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, refused: true},
		{says: "another site that says nothing", header: []string{"Sec-Fetch-Site", "cross-site"}, refused: true},
		{says: "another site in an old browser", header: []string{"Origin", "https://evil.example"}, refused: true},
		{says: "the front end, of the same site", header: []string{"Sec-Fetch-Site", "same-site", "Origin", "https://jewgo.app"}},
		{says: "a preview of it", header: []string{"Sec-Fetch-Site", "same-site", "Origin", "https://pr-7.jewgo.app"}},
		{says: "a host that nobody named, of the same site", header: []string{"Sec-Fetch-Site", "same-site", "Origin", "https://a.b.jewgo.app"}, refused: true},
		{says: "a host that looks like a trusted one", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://jewgo.app.evil.example"}, refused: true},
		{says: "the same host without TLS", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://jewgo.app"}, refused: true},
		{says: "a trusted origin beside cors", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://forms.example.org"}},
		{says: "another site that reads", method: "GET", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		{says: "another site that opens a WebSocket", method: "GET", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example", "Upgrade", "websocket"}, refused: true},
		{says: "another site without the cookie", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, without: true},
		{says: "another site, on a route without sessions", path: "/off", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		{says: "another site, deleting", method: "DELETE", header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, refused: true},
	} {
		if tt.method == "" {
			tt.method = "POST"
		}
		if tt.path == "" {
			tt.path = "/optional"
		}
		r, err := http.NewRequest(tt.method, g.server.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "api.example.org"
		if !tt.without {
			r.Header.Set("Cookie", cookieName+"="+cookie)
		}
		for i := 0; i < len(tt.header); i += 2 {
			r.Header.Set(tt.header[i], tt.header[i+1])
		}
		loads := g.store.loads.Load()
		got := g.do(r)
		if !tt.refused {
			if got.StatusCode != http.StatusOK {
				t.Errorf("%s: %s: %s", tt.says, got.Status, got.body)
			}
			continue
		}
		if got.StatusCode != http.StatusForbidden || got.Header.Get("Content-Type") != "application/problem+json" ||
			!strings.HasPrefix(got.ex.Facts.Reason, "cross-origin request refused: ") {
			t.Errorf("%s: %s, %q", tt.says, got.Status, got.ex.Facts.Reason)
		}
		if g.store.loads.Load() != loads {
			t.Errorf("%s: the store was asked", tt.says)
		}
	}
}
