// Package ratelimit admits or refuses requests by the limits of their route. It
// decides which limits apply and what their buckets are called; a Store keeps
// the buckets: redisdb's, shared by all gateways, or memory's. Failover joins
// the two so that a limit is always decided.
package ratelimit

import (
	"fmt"
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// applied is one limit that counts a request.
type applied struct {
	limit  *policy.Limit
	charge Charge
	result gcra.Result
}

// Handler charges all limits of the route before the request goes on.
func Handler(store Store) middleware.Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ex := exchange.From(r.Context())
			if len(ex.Route.Limits) == 0 {
				next.ServeHTTP(w, r)
				return
			}
			limits, denied := plan(ex)
			if denied != nil {
				ex.Facts.Limit, ex.Facts.Limited, ex.Facts.Reason = denied.Name, true, "limit key missing"
				problem.Write(w, problem.Problem{Status: http.StatusForbidden, Detail: "the request lacks what its limit counts"})
				return
			}
			charged, refused := take(r.Context(), store, limits)
			if len(charged) == 0 {
				next.ServeHTTP(w, r)
				return
			}
			tightest := tightest(charged)
			ex.Facts.Limit = tightest.limit.Name
			w = middleware.OnHeader(w, func(_ int, h http.Header) { setHeaders(h, charged, tightest, ex.View.Now) })
			if !refused {
				next.ServeHTTP(w, r)
				return
			}
			ex.Facts.Limited = true
			ex.Facts.Reason = fmt.Sprintf("limit %q reached", tightest.limit.Name)
			refuse(w, tightest)
		})
	}
}

// plan lists the limits that count this request, or gives the one that it must
// be refused for because it lacks the key.
func plan(ex *exchange.Exchange) (limits []applied, denied *policy.Limit) {
	for _, l := range ex.Route.Limits {
		if l.When == policy.Anonymous && !ex.Principal.Anonymous() ||
			l.When == policy.WithSession && ex.Principal.Anonymous() {
			continue
		}
		k, ok := key(l, ex)
		if !ok {
			switch l.Missing {
			case policy.MissingSkip:
				continue
			case policy.MissingDeny:
				return nil, l
			case policy.MissingClientIP:
				k = clientKey(l, ex)
			}
		}
		limits = append(limits, applied{limit: l, charge: Charge{Key: k, Quota: l.Quota, Cost: l.Cost}})
	}
	return limits, nil
}
