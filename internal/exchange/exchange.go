// Package exchange carries the facts of one request through the chain: what was decided about it,
// and what the log line will say. Layers annotate the Exchange. No layer decides by another layer's
// annotations, except for Route, Plan and Principal, which exist for that.
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

// Exchange is one request in progress. It belongs to the goroutine that serves the request; a
// background refresh gets its own.
type Exchange struct {
	View      policy.View      // completed by Observe and Hygiene; the cache may then drop a Range from its Header
	Snapshot  *policy.Snapshot // the policy in force when the request came
	Route     *policy.Route    // nil until routed
	Params    policy.Params    // the route's path values
	Principal Principal        // the caller; zero: unknown
	Plan      *Plan            // nil: the cache does not take part in this request

	RequestID string
	// Traceparent goes upstream (W3C Trace Context, 3.2). "": the request is in no trace.
	Traceparent string
	Own         bool // the gateway asks itself, to fill its cache: no hit ratio counts it
	Facts       Facts
}

// Principal is the caller of a request, as its session says.
type Principal struct {
	SessionID string // opaque and safe to log: a hash, not the cookie's ID
	User      string // "" for a guest
	Roles     []string
}

// TraceID is the request's trace; "": none.
func (ex *Exchange) TraceID() string {
	if ex.Traceparent == "" {
		return ""
	}
	return ex.Traceparent[len("00-"):len("00-4bf92f3577b34da6a3ce929d0e0e4736")]
}

// Anonymous reports whether the request has no session.
func (p Principal) Anonymous() bool { return p.SessionID == "" }

// Plan is the cache's decision about a request. The cache's Handler makes it once; its Transport
// uses it without deriving anything again.
type Plan struct {
	Key    string    // identifies the resource, and variants by what the policy selects by
	Query  string    // the query in the key, which is also the one sent upstream
	Now    time.Time // of the request
	Lookup bool      // a stored response may be used
	Store  bool      // the response may be stored
	Shared bool      // the response may be given to anyone: the request goes upstream without identity
	// Control is the request's Cache-Control.
	Control rfc9111.CacheControl
	Tags    []string // of the response to store
	Stored  Entry    // the entry found that needs validation; nil: none
	Puts    uint64   // entries put into memory before the look-up

	// Forward is why the request goes upstream, in the terms of RFC 9211, 2.2:
	// uri-miss, vary-miss, stale, partial, request, method, bypass.
	Forward string
	Detail  string // the reason for a bypass, a token; "": none
}

// Entry is a stored response. The only ones are those of middleware/cache, which reads them.
type Entry interface {
	Expired(now time.Time) bool // past the time for which it is kept
}

// StatusClientGone is used in Facts.Status and is never sent: the client left before the response
// (nginx's 499).
const StatusClientGone = 499

// Facts are what the log line and the metrics say about a request. A zero value means that the
// request did not get that far.
type Facts struct {
	Status       int           // sent to the client; StatusClientGone if it left first
	BytesIn      int64         // request body read
	BytesOut     int64         // response body written
	Cache        string        // hit, miss, stale, revalidated, collapsed, bypass
	Tier         string        // where a stored response came from: l1 (memory), l2 (Redis); "": not from a store, or unknown
	NotStored    string        // why a response is not stored, a token
	Limit        string        // name of the limit that refused, or came closest to it
	Limited      bool          // a limit refused the request
	Session      string        // none, valid, expired, revoked, invalid, created, ...
	Target       string        // the last upstream target asked
	UpstreamTime time.Duration // until the response's headers, all tries together
	UpstreamCode int
	Retries      int
	Local        bool   // something was decided from local memory because Redis was unavailable
	Reason       string // why the response is not the usual one, for a person
}

// Note adds to Reason.
func (f *Facts) Note(reason string) {
	if f.Reason != "" {
		f.Reason += "; "
	}
	f.Reason += reason
}

// Refuse answers instead of the upstream, and records the reason for the log.
func (ex *Exchange) Refuse(w http.ResponseWriter, reason string, p problem.Problem) {
	ex.Facts.Reason = reason
	problem.Write(w, p)
}

type contextKey struct{}

// carrier replaces two context.WithValue.
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

// With returns a context that carries ex and a budget for waiting for stores. If ctx belongs to
// another request, its budget is shared.
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
