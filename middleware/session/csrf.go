package session

import (
	"fmt"
	"net/http"

	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// crossOrigin says why a request must not use the session cookie that it carries:
// a page of another origin made it, which the policy does not trust, and it does
// not merely read. SameSite alone leaves the pages of all hosts of the site.
// Requests without Sec-Fetch-Site and Origin come from no browser of today.
func crossOrigin(r *http.Request, p *policy.Policy) error {
	used := false
	for range policy.CookieValues(r.Header, p.Session.Cookie.Name) {
		used = true
	}
	if !used {
		return nil
	}
	asked := r
	if r.Header.Get("Upgrade") != "" { // by GET, but browsers let any page open a WebSocket
		asked = &http.Request{Method: http.MethodPost, Host: r.Host, Header: r.Header}
	}
	var protection http.CrossOriginProtection
	err := protection.Check(asked)
	if err == nil {
		return nil
	}
	origin := r.Header.Get("Origin")
	if middleware.OriginAllowed(p.CORS.Origins, origin) || middleware.OriginAllowed(p.Session.TrustedOrigins, origin) {
		return nil
	}
	return fmt.Errorf("cross-origin request refused: %w", err)
}
