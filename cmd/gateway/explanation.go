package main

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
)

// explanation is what would happen to a request, and why. Times are in seconds.
type explanation struct {
	Policy  string      `json:"policy"`  // its file and digest
	Running bool        `json:"running"` // by a gateway with what its stores have now; false: by the policy alone
	Redis   []redisUse  `json:"redis,omitempty"`
	Request requestView `json:"request"`
	outcome
	Route   *routeView     `json:"route,omitempty"` // absent: none takes it, or it is refused before
	Near    []nearView     `json:"near,omitempty"`  // routes that do not take it, the closest first
	Session sessionOutcome `json:"session"`
	Limits  []limitOutcome `json:"limits,omitempty"`

	Unlimited *outcome    `json:"without_limits,omitempty"` // if no limit refused it
	RedisDown *answerView `json:"redis_down,omitempty"`     // if Redis were down

	assumedDown bool // Redis, by the question
}

// String is what gateway explain prints.
func (x *explanation) String() string {
	var text strings.Builder
	_ = showExplanation(&text, x, x.assumedDown) // a Builder never fails
	return text.String()
}

// outcome is an answer, and what it takes.
type outcome struct {
	Answer answerView    `json:"answer"`
	Cache  *cacheOutcome `json:"cache,omitempty"`  // absent: the route is not cached, or the request does not get there
	Sent   []sentView    `json:"sent,omitempty"`   // upstream, in order
	Purged []string      `json:"purged,omitempty"` // tags that the response purges
}

// requestView is the request as the layers see it.
type requestView struct {
	Method string    `json:"method"`
	TLS    bool      `json:"tls"`
	Host   string    `json:"host"`
	Path   string    `json:"path"` // normalised; as it came where that is not possible
	Query  string    `json:"query,omitempty"`
	Client string    `json:"client"`
	At     time.Time `json:"at"`
}

// answerView is a response.
type answerView struct {
	Status      int    `json:"status"`
	By          string `json:"by"`                     // cache, upstream (then Status is assumed), limit or gateway
	Why         string `json:"why,omitempty"`          // it is not the usual one
	CacheStatus string `json:"cache_status,omitempty"` // RFC 9211
	Local       bool   `json:"local,omitempty"`        // decided without Redis
	RetryAfter  string `json:"retry_after,omitempty"`
	Limit       string `json:"limit,omitempty"` // that refused, or came closest
}

type routeView struct {
	Name   string            `json:"name"`
	At     string            `json:"at"` // file:line:column
	Match  string            `json:"match"`
	Cached bool              `json:"cached"`           // its responses may be stored
	Values map[string]string `json:"values,omitempty"` // of the path
}

type nearView struct {
	Name string `json:"name"`
	At   string `json:"at"`
	Why  string `json:"why"`
}

type sessionOutcome struct {
	State string   `json:"state,omitempty"` // none, valid, expired, revoked, invalid; "": the route has none
	ID    string   `json:"id,omitempty"`
	User  string   `json:"user,omitempty"`
	Roles []string `json:"roles,omitempty"`
}

type limitOutcome struct {
	Name      string  `json:"name"`
	Shadow    bool    `json:"shadow,omitempty"`
	Skipped   string  `json:"skipped,omitempty"` // why it does not count the request
	Bucket    string  `json:"bucket,omitempty"`
	Rate      string  `json:"rate,omitempty"`
	Burst     int     `json:"burst,omitempty"`
	InFlight  *int    `json:"in_flight,omitempty"` // of Burst
	Cost      int     `json:"cost,omitempty"`
	Admits    bool    `json:"admits"`
	Remaining int     `json:"remaining"` // after the request
	Retry     float64 `json:"retry_after,omitempty"`
	Whole     float64 `json:"whole_in,omitempty"`
	By        string  `json:"by,omitempty"` // what decides; see gateway_limit_requests_total
	Denies    string  `json:"denies,omitempty"`
	Refunds   bool    `json:"refunds,omitempty"` // it gives the tokens back, since it does not count the response's status
}

type cacheOutcome struct {
	Key       string         `json:"key,omitempty"`
	Query     string         `json:"query,omitempty"`     // in the key, and sent upstream
	Bypass    string         `json:"bypass,omitempty"`    // why stored responses are not used
	Forward   string         `json:"forward,omitempty"`   // why it goes upstream (RFC 9211, 2.2)
	Private   bool           `json:"private,omitempty"`   // of one session
	Variants  []cache.Stored `json:"variants,omitempty"`  // in this gateway's memory, or found in Redis
	Elsewhere []string       `json:"elsewhere,omitempty"` // on a miss, URLs of the same path in memory under another key
	Stores    *cache.Stored  `json:"stores,omitempty"`    // what it would store
	Keeps     float64        `json:"keeps,omitempty"`     // how long that is kept
	NotStored string         `json:"not_stored,omitempty"`
}

type sentView struct {
	Upstream string      `json:"upstream"`
	Targets  []string    `json:"targets"`        // one of these
	Down     bool        `json:"down,omitempty"` // health checks took all of them out
	Method   string      `json:"method"`
	URI      string      `json:"uri"`
	Host     string      `json:"host"`
	Header   http.Header `json:"header"` // cookies and the identity without their values
}

// describe describes a rehearsal.
func (e *explainer) describe(r *rehearsal, q *question) *explanation {
	ex := r.ex
	v, s := &ex.View, ex.Snapshot
	x := &explanation{
		Policy: strings.TrimSpace(s.File + " " + s.Digest), Running: !e.alone, assumedDown: q.down,
		Request: requestView{v.Method, v.TLS, v.Authority, v.Path, v.Query, "", v.Now},
		outcome: outcomeOf(r),
		Session: sessionOutcome{ex.Facts.Session, ex.Principal.SessionID, ex.Principal.User, ex.Principal.Roles},
	}
	if v.Client.IsValid() {
		x.Request.Client = v.Client.String()
	}
	for _, remote := range e.redis {
		view := redisUse{remote.name, failover.Down.String(), v.Now}
		if !q.down {
			status := remote.health.Status()
			view.State, view.Since = status.State.String(), status.Since
		}
		x.Redis = append(x.Redis, view)
	}
	if v.Path == "" { // it is malformed
		x.Request.Method, x.Request.Host, x.Request.Path = q.method, q.host, q.target
	} else {
		for _, n := range s.Near(v, ex.Route, 3) {
			x.Near = append(x.Near, nearView{n.Route.Name, n.Route.Position.String(), n.Why})
		}
	}
	if ex.Route == nil {
		return x
	}
	x.Route = &routeView{Name: ex.Route.Name, At: ex.Route.Position.String(), Match: matchText(ex.Route), Cached: ex.Route.Cache != nil}
	for _, p := range ex.Params {
		if x.Route.Values == nil {
			x.Route.Values = map[string]string{}
		}
		x.Route.Values[p.Name] = p.Value
	}
	x.describeLimits(r, e.flights)
	return x
}

// hideSecrets hides what its reader could use in another's name: the identity that the backend trusts, credentials,
// and cookies, also those that a session holds.
func hideSecrets(h http.Header, identity string) {
	for _, name := range []string{identity, "Authorization", "Proxy-Authorization"} {
		if h.Get(name) != "" {
			h.Set(name, "[hidden]")
		}
	}
	for i, line := range h["Cookie"] {
		var pairs []string
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(strings.TrimSpace(pair), "=")
			pairs = append(pairs, name+"=[hidden]")
		}
		h["Cookie"][i] = strings.Join(pairs, "; ")
	}
}

func matchText(r *policy.Route) string {
	text := r.Host + r.Pattern
	if len(r.Methods) > 0 {
		text = strings.Join(r.Methods, ",") + " " + text
	}
	return text
}

func answerOf(r *rehearsal) answerView {
	facts, h := &r.ex.Facts, r.response.Header
	a := answerView{
		Status: r.response.StatusCode, By: "gateway", Why: facts.Reason, Local: facts.Local, Limit: facts.Limit,
		CacheStatus: strings.Join(h["Cache-Status"], ", "), RetryAfter: h.Get("Retry-After"),
	}
	switch {
	case facts.Limited:
		a.By = "limit"
	case facts.Cache == "hit" || facts.Cache == "stale":
		a.By = "cache"
	case len(r.upstream.Sent()) > 0:
		a.By = "upstream"
	case a.Why == "":
		a.Why = r.detail
	}
	return a
}

func (x *explanation) describeLimits(r *rehearsal, flights *ratelimit.InFlight) {
	if r.ex.Route.Deny != 0 {
		return
	}
	for _, a := range ratelimit.AppliedTo(r.ex) {
		l := limitOutcome{Name: a.Limit.Name, Shadow: a.Limit.Shadow, Skipped: a.Skips, Denies: a.Denies, Bucket: a.Key}
		if a.Limit.InFlight > 0 && a.Key != "" {
			n := flights.Count(a.Key)
			l.InFlight, l.Burst, l.Admits = &n, a.Limit.InFlight, n < a.Limit.InFlight
		}
		i := slices.IndexFunc(r.limits.Outcomes, func(o ratelimit.Outcome) bool { return o.Key == a.Key })
		if i >= 0 {
			o := r.limits.Outcomes[i]
			rate, _ := policy.Rate{Tokens: o.Quota.Rate, Period: o.Quota.Period}.MarshalText() // a compiled quota has a period
			l.Rate, l.Burst, l.Cost, l.By = string(rate), o.Quota.Burst, o.Cost, o.By.String()
			l.Refunds = o.Allowed && a.Limit.ByStatus() && !a.Limit.CountsStatus(r.response.StatusCode)
			l.Admits, l.Remaining, l.Retry, l.Whole = o.Allowed, o.Remaining, o.RetryAfter.Seconds(), o.ResetAfter.Seconds()
		} else if l.InFlight == nil && l.Denies == "" && l.Skipped == "" {
			l.Skipped = "the request is answered before limits count it"
		}
		x.Limits = append(x.Limits, l)
	}
}

func outcomeOf(r *rehearsal) outcome {
	x := outcome{Answer: answerOf(r), Purged: r.cache.Purged()}
	for _, s := range r.upstream.Sent() {
		hideSecrets(s.Header, r.ex.Snapshot.Policy.Session.Identity.Header)
		x.Sent = append(x.Sent, sentView{s.Upstream, s.Targets, s.Down, s.Method, s.URI, s.Host, s.Header})
	}
	p := r.cache.Plan
	if p == nil {
		return x
	}
	c := &cacheOutcome{Key: p.Key, Query: p.Query, Bypass: p.Detail, Private: p.Lookup && !p.Shared, NotStored: r.ex.Facts.NotStored}
	c.Variants = r.cache.Variants(r.ex.Snapshot)
	if r.ex.Plan != nil {
		c.Forward = r.ex.Plan.Forward
	}
	if c.Forward == "uri-miss" {
		c.Elsewhere = r.cache.Elsewhere(r.ex, 3)
	}
	if e, key := r.cache.Stored(); e != nil {
		c.Stores, c.Keeps = new(r.cache.Describe(r.ex.Snapshot, key, e)), e.Keep.Seconds()
	}
	x.Cache = c
	return x
}
