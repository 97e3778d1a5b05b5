package middleware

import (
	"maps"
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
)

// Headers marks every response, also those of layers that refuse, with the policy's server.headers, and
// over HTTPS with server.tls.hsts (RFC 6797, 7.2). They replace the upstream's.
func Headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := exchange.From(r.Context()).Snapshot
		if len(s.Headers) > 0 {
			w = OnHeader(w, headersHook(s.Headers))
		}
		if len(s.HSTS) > 0 && r.TLS != nil {
			w = OnHeader(w, headersHook(s.HSTS))
		}
		next.ServeHTTP(w, r)
	})
}

type headersHook http.Header

// OnHeader implements HeaderHook.
func (f headersHook) OnHeader(status int, h http.Header) {
	if !Interim(status) {
		maps.Copy(h, f) // whose values have no spare capacity: an append copies them
	}
}
