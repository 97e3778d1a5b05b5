package middleware

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// corsHeaders are the response headers that only the gateway sets if the policy has origins. It
// must remove an upstream's values, which may have been stored for another origin.
var corsHeaders = []string{
	"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
	"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age",
}

// CORS answers preflights and marks responses by the policy's cors section (the Fetch standard,
// 3.2). It is outside all layers that refuse requests, so that a script can read a 429 too.
func CORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := exchange.From(r.Context())
		cors := &ex.Snapshot.Policy.CORS
		if len(cors.Origins) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		origin := r.Header.Get("Origin")
		allowed := origin != "" && OriginAllowed(cors.Origins, origin)
		if r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != "" {
			ex.Facts.Reason = "preflight"
			preflight(w.Header(), cors, origin, allowed)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		hook := &corsHook{cors: cors}
		if allowed {
			hook.origin = origin
		}
		next.ServeHTTP(OnHeader(w, hook), r)
	})
}

// corsHook sets the CORS fields of a response.
type corsHook struct {
	cors   *policy.CORS
	origin string // "": not allowed
}

// OnHeader implements HeaderHook. Scripts do not see interim heads.
func (c *corsHook) OnHeader(status int, h http.Header) {
	if Interim(status) {
		return
	}
	for _, name := range corsHeaders {
		h.Del(name)
	}
	rfc9111.AddVary(h, "Origin")
	if c.origin == "" {
		return
	}
	allowOrigin(h, c.cors, c.origin)
	if len(c.cors.Expose) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(c.cors.Expose, ", "))
	}
}

func preflight(h http.Header, cors *policy.CORS, origin string, allowed bool) {
	for _, name := range []string{"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"} {
		h.Add("Vary", name)
	}
	if !allowed {
		return
	}
	allowOrigin(h, cors, origin)
	h.Set("Access-Control-Allow-Methods", strings.Join(cors.Methods, ", "))
	if len(cors.Headers) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(cors.Headers, ", "))
	}
	if cors.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(cors.MaxAge.Std()/time.Second)))
	}
}

func allowOrigin(h http.Header, cors *policy.CORS, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	if cors.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// OriginAllowed compares an Origin with the policy's origins. The * of a pattern stands for one or
// more characters of a host label, never for a dot or a slash.
func OriginAllowed(patterns []string, origin string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		before, after, wild := strings.Cut(p, "*")
		if !wild {
			return p == origin
		}
		if len(origin) <= len(before)+len(after) || !strings.HasPrefix(origin, before) || !strings.HasSuffix(origin, after) {
			return false
		}
		return !strings.ContainsAny(origin[len(before):len(origin)-len(after)], "./:@")
	})
}
