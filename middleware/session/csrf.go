package session

import (
	"fmt"
	"net/http"

	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// crossOrigin returns an error if a request must not use its session cookie: it may change
// something, and a page of another origin made it that the policy does not trust. SameSite alone
// would admit the pages of all hosts of the site. Requests without Sec-Fetch-Site and Origin do
// not come from a current browser, and pass.
func crossOrigin(r *http.Request, p *policy.Policy) error {
	used := false
	for range policy.CookieValues(r.Header, p.Session.Cookie.Name) {
		used = true
	}
	if !used {
		return nil
	}
	asked := r
	if r.Header.Get("Upgrade") != "" { // a GET, but browsers let any page open a WebSocket
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
