// Package ratelimit admits or refuses requests by the limits of their route. It
// decides which limits apply and what their buckets are called; a Limiter
// charges them, in the store that all gateways share while that is there, and
// by what is known here when it is not. docs/rate-limits.md states what the
// limits guarantee then, and why.
package ratelimit

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// HandlerConfig configures Handler. Store is required.
type HandlerConfig struct {
	Store Store
	// Count is told of requests in flight that were let in or refused; nil:
	// nobody is. Of the others Store's owner knows.
	Count func(l *policy.Limit, allowed bool)
}

// Handler charges all limits of the route before the request goes on.
func Handler(cfg HandlerConfig) middleware.Middleware {
	h := &handler{HandlerConfig: cfg}
	if h.Count == nil {
		h.Count = func(*policy.Limit, bool) {}
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ex := exchange.From(r.Context())
			if len(ex.Route.Limits) == 0 {
				next.ServeHTTP(w, r)
				return
			}
			q := &limited{ex: ex, next: next}
			q.resolve(ex)
			h.serve(w, r, q)
		})
	}
}

type handler struct {
	HandlerConfig
	inFlight InFlight
}

// limited is a request with its limits.
type limited struct {
	plan
	ex      *exchange.Exchange
	next    http.Handler
	results []gcra.Result     // one for each charge; nil: nothing is known
	status  int               // of the response, once its head has gone out
	fields  [maxFields]string // room for values of header fields
	text    [128]byte         // and for writing them
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, q *limited) {
	if q.denied != nil {
		q.refused(q.denied.Name, q.reason)
		problem.Write(w, problem.Problem{Status: http.StatusForbidden, Detail: "the request is refused by what its limit says"})
		return
	}
	entered, full := h.enter(q.flights)
	defer h.leave(q.flights[:entered])
	if full != nil {
		q.refused(full.Name, `limit "`+full.Name+`" of requests in flight reached`)
		tooMany(w, []string{full.Name}, 1)
		return
	}
	if len(q.charges) == 0 {
		q.next.ServeHTTP(w, r)
		return
	}
	results, err := h.Store.Take(r.Context(), q.charges, q.room.results[:0])
	if err != nil {
		// Limits protect the upstream, they must not take it down themselves.
		q.ex.Facts.Note("limits not decided")
		q.next.ServeHTTP(w, r)
		return
	}
	q.results = results
	violated := q.judge()
	w = middleware.OnHeader(w, q)
	if len(violated) > 0 {
		q.refused(violated[0], "limit "+strings.Join(violated, ", ")+" reached")
		tooMany(w, violated, q.retryAfter())
		return
	}
	if !q.byStatus() {
		q.next.ServeHTTP(w, r)
		return
	}
	defer h.refund(context.WithoutCancel(r.Context()), q)
	q.next.ServeHTTP(w, r)
}

// enter counts the request in, and returns how many limits it entered and the
// one that is full.
func (h *handler) enter(flights []flight) (int, *policy.Limit) {
	for i, f := range flights {
		ok := h.inFlight.Enter(f.key, f.limit.InFlight)
		h.Count(f.limit, ok)
		switch {
		case ok:
		case f.limit.Shadow: // it counts those that are let in, so this one is let in uncounted
			flights[i].key = ""
		default:
			return i, f.limit
		}
	}
	return len(flights), nil
}

func (h *handler) leave(flights []flight) {
	for _, f := range flights {
		if f.key != "" {
			h.inFlight.Leave(f.key)
		}
	}
}

// judge names the limits that refuse the request, the longest wait first, and
// notes what shadows would have done.
func (q *limited) judge() (violated []string) {
	longest := -1
	violated = q.room.violated[:0]
	for i, r := range q.results {
		switch {
		case r.Allowed:
		case q.limits[i].Shadow:
			q.ex.Facts.Note("shadow limit " + q.limits[i].Name + " reached")
		case longest < 0 || r.RetryAfter > q.results[longest].RetryAfter:
			longest = i
			violated = slices.Insert(violated, 0, q.limits[i].Name)
		default:
			violated = append(violated, q.limits[i].Name)
		}
	}
	if t := q.tightest(); t >= 0 && len(violated) == 0 {
		q.ex.Facts.Limit = q.limits[t].Name
	}
	return violated
}

// refused notes that a limit refused the request.
func (q *limited) refused(limit, reason string) {
	q.ex.Facts.Limit, q.ex.Facts.Limited = limit, true
	q.ex.Facts.Note(reason)
}

// tightest is the limit that the client should heed: the one that refuses for
// longest, else the one with the smallest share left; -1: shadows alone.
func (q *limited) tightest() int {
	t := -1
	for i, r := range q.results {
		if q.limits[i].Shadow {
			continue
		}
		if t < 0 {
			t = i
			continue
		}
		best := q.results[t]
		if best.Allowed == r.Allowed {
			if r.Allowed && r.Remaining*q.charges[t].Quota.Burst < best.Remaining*q.charges[i].Quota.Burst || r.RetryAfter > best.RetryAfter {
				t = i
			}
		} else if !r.Allowed {
			t = i
		}
	}
	return t
}

// retryAfter is when the same request would pass all limits, in whole seconds.
func (q *limited) retryAfter() int {
	longest := 1
	for i, r := range q.results {
		if !r.Allowed && !q.limits[i].Shadow {
			longest = max(longest, seconds(r.RetryAfter))
		}
	}
	return longest
}

// OnHeader implements middleware.HeaderHook.
func (q *limited) OnHeader(status int, header http.Header) {
	if !middleware.Interim(status) {
		q.status = status
		q.setHeaders(header)
	}
}

// byStatus reports whether it takes the response to know what counts.
func (q *limited) byStatus() bool {
	for i := range q.charges {
		if q.limits[i].ByStatus() {
			return true
		}
	}
	return false
}

// refund gives back what does not count by the response's status. Until then it
// did, so that attempts made side by side pass no limit. A request that ended
// without a response counts: nobody knows what it did.
func (h *handler) refund(ctx context.Context, q *limited) {
	var back []Charge
	for i, l := range q.limits {
		if q.results[i].Allowed && q.status != 0 && !l.CountsStatus(q.status) {
			back = append(back, q.charges[i])
		}
	}
	if len(back) > 0 {
		_ = h.Store.Refund(ctx, back) // the client waits longer for tokens, no more
	}
}

// tooMany answers 429 (RFC 6585, 4) with Retry-After and the problem type that
// the draft registers.
func tooMany(w http.ResponseWriter, violated []string, retryAfter int) {
	w.Header()["Retry-After"] = []string{strconv.Itoa(retryAfter)}
	problem.Write(w, problem.Problem{
		Status:   http.StatusTooManyRequests,
		Type:     "https://iana.org/assignments/http-problem-types#quota-exceeded",
		Title:    "Request cannot be satisfied as assigned quota has been exceeded",
		Violated: violated,
	})
}
