package session

import (
	"net/http"
	"strings"
	"time"

	"github.com/jewgo/gateway/policy"
)

// newCookie returns the session cookie as the policy defines it, valid for lasts. An empty value
// deletes it.
func newCookie(c policy.Cookie, value string, lasts time.Duration) *http.Cookie {
	cookie := &http.Cookie{
		Name: c.Name, Value: value, Path: "/",
		Secure: c.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: -1,
	}
	if value != "" {
		cookie.MaxAge = max(1, int(lasts/time.Second))
	}
	switch c.SameSite {
	case "strict":
		cookie.SameSite = http.SameSiteStrictMode
	case "none":
		cookie.SameSite = http.SameSiteNoneMode
	}
	return cookie
}

// makePrivate keeps shared caches from storing a response that belongs to one session (RFC 9111,
// 5.2.2.7). no-store is left as it is. Targeted fields are removed, since they override
// Cache-Control; their names end in -Cache-Control (RFC 9213, 3.1).
func makePrivate(h http.Header) {
	for name := range h {
		if strings.HasSuffix(name, "-Cache-Control") || name == "Surrogate-Control" {
			delete(h, name)
		}
	}
	kept := []string{"private"}
	for _, line := range h.Values("Cache-Control") {
		for _, directive := range splitQuoted(line) {
			name, _, _ := strings.Cut(directive, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "no-store":
				return
			case "", "public", "private", "s-maxage":
			default:
				kept = append(kept, directive)
			}
		}
	}
	h.Set("Cache-Control", strings.Join(kept, ", "))
}

// splitQuoted splits a list at the commas outside of quoted strings.
func splitQuoted(list string) (items []string) {
	quoted, escaped, start := false, false, 0
	for i := range len(list) {
		switch c := list[i]; {
		case escaped:
			escaped = false
		case c == '\\' && quoted:
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			items = append(items, strings.TrimSpace(list[start:i]))
			start = i + 1
		}
	}
	return append(items, strings.TrimSpace(list[start:]))
}
