// Package ratelimit admits or refuses requests by the limits of their route. Handler decides which
// limits apply and which buckets they charge. A Limiter charges the buckets: in the store that all
// gateways share or, while that is unavailable, by what this gateway knows. docs/how-it-works/limits.md
// states what the limits then guarantee, and why.
package ratelimit

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// HandlerConfig configures Handler. Store is required.
type HandlerConfig struct {
	Store Store
	// Count is called for each request that an in-flight limit admits or refuses; nil: no calls.
	// Store counts the charges of the other limits.
	Count func(l *policy.Limit, allowed bool)
	// Flights counts requests in flight; nil: an InFlight of its own.
	Flights Flights
}

// Handler charges all limits of the route before the request goes on.
func Handler(cfg HandlerConfig) middleware.Middleware {
	h := &handler{cfg}
	if h.Count == nil {
		h.Count = func(*policy.Limit, bool) {}
	}
	if h.Flights == nil {
		h.Flights = &InFlight{}
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

type handler struct{ HandlerConfig }

// limited is a request with its limits.
type limited struct {
	plan
	ex      *exchange.Exchange
	next    http.Handler
	results []gcra.Result     // one for each charge; nil: not decided
	status  int               // of the response, once its head is sent; else 0
	fields  [maxFields]string // room for header field values
	text    [128]byte         // room for formatting them
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, q *limited) {
	if q.denied != nil {
		q.refused(q.denied.Name, q.reason)
		problem.Write(w, problem.Problem{Status: http.StatusForbidden, Detail: "a rate limit of this route denies the request"})
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
		// Limits protect the upstream; their own failure must not block it.
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

// enter counts the request in. It returns how many limits it entered, and the full one, if any.
func (h *handler) enter(flights []flight) (int, *policy.Limit) {
	for i, f := range flights {
		ok := h.Flights.Enter(f.key, f.limit.InFlight)
		h.Count(f.limit, ok)
		switch {
		case ok:
		case f.limit.Shadow: // admit the request, but do not count it
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
			h.Flights.Leave(f.key)
		}
	}
}

// judge names the limits that refuse the request, the longest wait first, and notes the shadow
// limits that would have.
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

// tightest is the limit to report to the client: the refusing one with the longest wait, else the
// one with the smallest share left; -1: there are only shadow limits.
func (q *limited) tightest() int {
	t := -1
	for i := range q.results {
		if !q.limits[i].Shadow && (t < 0 || q.tighter(i, t)) {
			t = i
		}
	}
	return t
}

func (q *limited) tighter(i, j int) bool {
	a, b := q.results[i], q.results[j]
	if a.Allowed != b.Allowed {
		return b.Allowed
	}
	return a.Allowed && a.Remaining*q.charges[j].Quota.Burst < b.Remaining*q.charges[i].Quota.Burst || a.RetryAfter > b.RetryAfter
}

// retryAfter is after how many seconds the same request would pass all limits, rounded up.
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

// byStatus reports whether a charge depends on the response's status.
func (q *limited) byStatus() bool {
	return slices.ContainsFunc(q.limits, (*policy.Limit).ByStatus)
}

// refund returns the charges that do not count for the response's status. All charges are made
// before the request, so that concurrent attempts cannot exceed a limit. A request without a
// response counts, since its effect is unknown.
func (h *handler) refund(ctx context.Context, q *limited) {
	var back []Charge
	for i, l := range q.limits {
		if q.results[i].Allowed && q.status != 0 && !l.CountsStatus(q.status) {
			back = append(back, q.charges[i])
		}
	}
	if len(back) > 0 {
		_ = h.Store.Refund(ctx, back) // on failure the client only waits longer for tokens
	}
}

// tooMany answers 429 (RFC 6585, 4) with Retry-After and the problem type that the draft registers.
func tooMany(w http.ResponseWriter, violated []string, retryAfter int) {
	w.Header()["Retry-After"] = []string{strconv.Itoa(retryAfter)}
	problem.Write(w, problem.Problem{
		Status:   http.StatusTooManyRequests,
		Type:     "https://iana.org/assignments/http-problem-types#quota-exceeded",
		Title:    "Request cannot be satisfied as assigned quota has been exceeded",
		Violated: violated,
	})
}

// Flights counts the requests of each key that are being served.
type Flights interface {
	// Enter counts one more request of key, unless there are most of them already.
	Enter(key string, most int) bool
	// Leave counts one request less.
	Leave(key string)
}

// InFlight counts the requests of each key that this gateway is serving. It holds at most one key
// for each such request. The zero value is ready.
type InFlight struct {
	mu     sync.Mutex
	counts map[string]int // never 0; guarded by mu
}

// Enter implements Flights.
func (f *InFlight) Enter(key string, most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[string]int{}
	}
	if f.counts[key] >= most {
		return false
	}
	f.counts[key]++
	return true
}

// Leave implements Flights.
func (f *InFlight) Leave(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts[key]--; f.counts[key] == 0 {
		delete(f.counts, key)
	}
}
