package middleware

import (
	"net/http"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/problem"
)

// Route finds the request's route in the snapshot of its start, answers requests without a route,
// and bounds the body.
func Route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := exchange.From(r.Context())
		ex.Route, ex.Params = ex.Snapshot.Match(&ex.View)
		switch {
		case ex.Route == nil:
			unrouted(w, ex)
			return
		case ex.Route.Deny != 0:
			ex.Refuse(w, "denied by route", problem.Problem{Status: ex.Route.Deny})
			return
		}
		if r.ContentLength > ex.Route.MaxBody {
			const why = "the body is too large"
			ex.Refuse(w, why, problem.Problem{Status: http.StatusRequestEntityTooLarge, Detail: why})
			return
		}
		if cw, ok := w.(*writer); ok {
			cw.expect(ex.Route.Progress)
		}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, ex.Route.MaxBody)
		}
		next.ServeHTTP(w, r)
	})
}

// unrouted answers 405 if another method has a route, else 404.
func unrouted(w http.ResponseWriter, ex *exchange.Exchange) {
	if allowed := ex.Snapshot.Allowed(&ex.View); len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		ex.Refuse(w, "no route takes this method", problem.Problem{Status: http.StatusMethodNotAllowed})
		return
	}
	ex.Refuse(w, "no route", problem.Problem{Status: http.StatusNotFound})
}
