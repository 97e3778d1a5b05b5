// Package exchange carries the facts of one request through the chain: what was
// decided about it, and what the log line will say. Layers annotate the
// Exchange on the way; none reads another layer's annotations to decide, except
// for Route, Plan and Principal, which exist for that.
package exchange

import (
	"context"
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// Exchange is one request on its way. It belongs to the goroutine that serves
// the request; a background refresh gets one of its own.
type Exchange struct {
	View      policy.View      // completed by Observe and Hygiene; the cache may then drop a Range from its Header
	Snapshot  *policy.Snapshot // the policy in force when the request came
	Route     *policy.Route    // nil until routed
	Params    policy.Params    // the route's path values
	Principal Principal        // who is calling; zero: nobody known
	Plan      *Plan            // nil: the cache has no part in this request

	RequestID string
	Facts     Facts
}

// Principal is who a request comes from, as its session says.
type Principal struct {
	SessionID string // opaque and safe to log: a hash, not the cookie's ID
	User      string // "" for a guest
	Roles     []string
}

// Anonymous reports whether the request has no session.
func (p Principal) Anonymous() bool { return p.SessionID == "" }

// Plan is the cache's decision about a request, made once by its Handler and
// carried to its Transport, which derives nothing again.
type Plan struct {
	Key    string    // identifies the resource, and of its variants what the policy selects by
	Query  string    // the query that is keyed, and so the one that is sent upstream
	Now    time.Time // of the request
	Lookup bool      // a stored response may be used
	Store  bool      // the response may be stored
	Shared bool      // the response may be handed to anyone: the request goes upstream without identity
	// Control is the request's Cache-Control.
	Control rfc9111.CacheControl
	Tags    []string // of what gets stored
	Stored  any      // the entry that was found but needs validation; belongs to middleware/cache
	Puts    uint64   // entries put into memory before the look-up

	// Forward is why the request goes upstream, in the words of RFC 9211, 2.2:
	// uri-miss, vary-miss, stale, partial, request, method, bypass.
	Forward string
	Detail  string // what makes it a bypass, a token; "": nothing to tell
}

// StatusClientGone stands in Facts.Status and is never sent: the client left
// before the answer came (nginx's 499).
const StatusClientGone = 499

// Facts are what the log line and the metrics say about a request. The zero
// value of each stands for "did not come to it".
type Facts struct {
	Status       int           // sent to the client; StatusClientGone if it left first
	BytesIn      int64         // request body read
	BytesOut     int64         // response body written
	Cache        string        // hit, miss, stale, revalidated, collapsed, bypass
	NotStored    string        // why a response that came is not stored, a token
	Limit        string        // name of the limit that refused, or came closest to it
	Limited      bool          // a limit refused the request
	Session      string        // none, valid, expired, revoked, invalid, created, ...
	Target       string        // upstream target asked last
	UpstreamTime time.Duration // to the response's headers, all tries together
	UpstreamCode int
	Retries      int
	Local        bool   // something was decided from local memory because Redis was away
	Reason       string // why the answer is not the ordinary one, for a person
}

// Note adds to Reason.
func (f *Facts) Note(reason string) {
	if f.Reason != "" {
		f.Reason += "; "
	}
	f.Reason += reason
}

// Refuse answers in the upstream's place, for a reason that the log tells.
func (ex *Exchange) Refuse(w http.ResponseWriter, reason string, p problem.Problem) {
	ex.Facts.Reason = reason
	problem.Write(w, p)
}

type contextKey struct{}

// carrier is two context.WithValue in one.
type carrier struct {
	context.Context
	ex     *Exchange
	budget *failover.Budget
	own    failover.Budget
}

func (c *carrier) Value(key any) any {
	switch key.(type) {
	case contextKey:
		return c.ex
	case failover.BudgetKey:
		return c.budget
	}
	return c.Context.Value(key)
}

// With returns a context that carries ex, and a budget for the stores that it
// waits for: that of ctx, where what is done is part of another request.
func With(ctx context.Context, ex *Exchange) context.Context {
	c := &carrier{Context: ctx, ex: ex}
	if shared, ok := ctx.Value(failover.BudgetKey{}).(*failover.Budget); ok {
		c.budget = shared
	} else {
		c.budget = &c.own
	}
	return c
}

// From returns the exchange that ctx carries. It panics without one, since
// every handler runs inside Observe, which makes it.
func From(ctx context.Context) *Exchange {
	return ctx.Value(contextKey{}).(*Exchange)
}
