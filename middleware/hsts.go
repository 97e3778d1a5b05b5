package middleware

import (
	"net/http"
	"strconv"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// HSTS marks every response over HTTPS, also those of layers that refuse, by the policy's server.tls.hsts
// (RFC 6797, 7.2). It replaces a field of the upstream.
func HSTS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := exchange.From(r.Context())
		if t := ex.Snapshot.Policy.Server.TLS; t != nil && t.HSTS.MaxAge > 0 && r.TLS != nil {
			w = OnHeader(w, (*hstsHook)(&t.HSTS))
		}
		next.ServeHTTP(w, r)
	})
}

type hstsHook policy.HSTS

// OnHeader implements HeaderHook.
func (s *hstsHook) OnHeader(_ int, h http.Header) {
	value := "max-age=" + strconv.FormatInt(int64(s.MaxAge.Std()/time.Second), 10)
	if s.Subdomains {
		value += "; includeSubDomains"
	}
	h["Strict-Transport-Security"] = []string{value}
}
