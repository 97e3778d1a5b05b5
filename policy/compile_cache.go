package policy

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// maxDecimals is beyond what a float64 holds of a coordinate.
const maxDecimals = 12

// cacheRule compiles the cache section of r, whose other parts are compiled.
func (c *compiler) cacheRule(path string, d *CacheDef, r *Route) *CacheRule {
	rule := &CacheRule{
		Strict:               d.Mode == "strict",
		TTL:                  d.TTL.Std(),
		Statuses:             c.lifetimes(path+".statuses", d),
		StaleWhileRevalidate: d.StaleWhileRevalidate.Std(),
		StaleIfError:         d.StaleIfError.Std(),
		Encode:               d.Encode,
		Query:                c.queryRule(path+".query", d),
		Key:                  c.sources(path+".key", d.Key, cacheSources),
		Bypass:               c.sources(path+".bypass", d.Bypass, cacheSources),
		Tags:                 c.templates(path+".tags", d.Tags, r.pattern),
	}
	if rule.Strict && d.TTL > 0 {
		c.invalid(path+".ttl", "mode: strict leaves the lifetime to the origin")
	}
	for _, name := range c.fieldNames(path+".vary", d.Vary) {
		if name != "Accept-Encoding" || rule.Strict { // one response is stored for all codings
			rule.Vary = append(rule.Vary, name)
		}
	}
	rule.Pass = c.fieldNames(path+".pass", d.Pass)
	for i, name := range rule.Pass {
		switch {
		case name == "Cookie":
			c.invalid(c.item(path+".pass", i), "cookies go upstream where they are in the key: write key: [\"cookie:NAME\"]")
		case StaysBehind(name):
			c.invalid(c.item(path+".pass", i), "%s never goes upstream from a client", clip(name))
		}
	}
	switch {
	case rule.Strict && len(d.Pass) > 0:
		c.invalid(path+".pass", "mode: strict sends all fields upstream")
	case !rule.Strict && len(c.policy.CORS.Origins) == 0 && !slices.Contains(rule.Vary, "Origin"):
		rule.Vary = append(rule.Vary, "Origin") // upstreams that answer it seldom say so in Vary
	}
	if rule.Strict && rule.Encode && c.has(path+".encode") {
		c.invalid(path+".encode", "mode: strict leaves the content codings to the origin")
	}
	rule.Encode = rule.Encode && !rule.Strict
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, "GET") && !slices.Contains(r.Methods, "HEAD") {
		c.invalid(path, "the route takes neither GET nor HEAD, and nothing else is cached")
	}
	return rule
}

// fieldNames gives a list of names of request fields in canonical form.
func (c *compiler) fieldNames(path string, list []string) (names []string) {
	for i, name := range list {
		if !isToken(name) || name == "*" {
			c.invalid(c.item(path, i), "bad header name %q", clip(name))
		}
		names = append(names, textproto.CanonicalMIMEHeaderKey(name))
	}
	return names
}

// lifetimes compiles those by status. A class stands for its statuses that may
// be stored and have no lifetime of their own.
func (c *compiler) lifetimes(path string, d *CacheDef) map[int]time.Duration {
	if d.Mode == "strict" && len(d.Statuses) > 0 {
		c.invalid(path, "mode: strict leaves the lifetime to the origin")
	}
	single, all := map[int]time.Duration{}, map[int]time.Duration{}
	for _, text := range keys(d.Statuses) {
		at, ttl := join(path, text), d.Statuses[text].Std()
		var s Status
		switch err := s.UnmarshalText([]byte(text)); {
		case !c.has(at): // the environment leaves it empty
		case err != nil:
			c.invalid(at, "%v", err)
		case s < 10:
			for status := int(s) * 100; status < int(s)*100+100; status++ {
				if !NeverStored(status) {
					all[status] = ttl
				}
			}
		case s == http.StatusPartialContent || NeverStored(int(s)):
			c.invalid(at, "%d is never stored by a policy: it answers one request, not others", int(s))
		default:
			single[int(s)] = ttl
		}
	}
	maps.Copy(all, single)
	return all
}

// NeverStored lists the statuses that are not stored in managed mode, whatever a
// policy says: those that answer what is not in the key, such as a condition, a
// range, or a head that is malformed or too large (stored, one such request
// would answer all others), those that are about one client, and those that no
// cache may store (RFC 6585). A part (206) goes as what it is a part of.
func NeverStored(status int) bool {
	switch status {
	case http.StatusNotModified,
		http.StatusBadRequest, http.StatusNotAcceptable, http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusLengthRequired,
		http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusUnsupportedMediaType,
		http.StatusRequestedRangeNotSatisfiable, http.StatusExpectationFailed, http.StatusMisdirectedRequest, http.StatusTooEarly,
		http.StatusUpgradeRequired, http.StatusPreconditionRequired, http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge,
		http.StatusNetworkAuthenticationRequired:
		return true
	}
	return false
}

// cacheSession checks a cache section against the route's session mode.
func (c *compiler) cacheSession(path string, r *Route) {
	switch {
	case r.Session == SessionRequired && !r.Cache.Private() && c.sound(path+".key"):
		c.invalid(path, "session: required is cached only with key: [session], or one user would see another's response")
	case r.Session == SessionOff && r.Cache.Private():
		c.invalid(path+".key", "session here needs session: optional or required on the route")
	case r.Session == SessionOff && usesSession(r.Cache.Bypass):
		c.invalid(path+".bypass", "session here needs session: optional or required on the route")
	}
}

// cacheOffload refuses keys of offloaded cookies: requests that fill what is
// shared are sent without them, so the user's key would hold nobody's response.
func (c *compiler) cacheOffload(path string, d *CacheDef) {
	offload := c.policy.Session.Offload
	for _, name := range offload {
		if i := slices.Index(d.Key, "cookie:"+name); i >= 0 {
			c.invalid(c.item(path+".key", i), "cookie %q stays in the session (session.offload): write session", clip(name))
		}
	}
	vary := func(name string) bool { return strings.EqualFold(name, "Cookie") }
	if i := slices.IndexFunc(d.Vary, vary); i >= 0 && len(offload) > 0 {
		c.invalid(c.item(path+".vary", i), "cookies stay in the session (session.offload): write key: [session]")
	}
}

// queryRule compiles which parameters count.
func (c *compiler) queryRule(path string, d *CacheDef) QueryRule {
	q := &d.Query
	rule := QueryRule{InOrder: !q.Sort, Allow: set(q.Allow), Deny: set(q.Deny), Round: q.Round, TTL: map[string]time.Duration{}}
	if len(q.Allow) > 0 && len(q.Deny) > 0 {
		c.invalid(path+".deny", "a query has allow or deny, not both")
	}
	if c.has(path+".allow") && len(q.Allow) == 0 {
		rule.Allow = map[string]bool{} // nothing is allowed
	}
	sent := func(at, name string) {
		if rule.Allow != nil && !rule.Allow[name] || rule.Deny[name] {
			c.invalid(at, "parameter %q is not allowed, so it never counts%s", clip(name), suggest(name, q.Allow))
		}
	}
	for _, name := range keys(q.Round) {
		at := join(path+".round", name)
		sent(at, name)
		if n := q.Round[name]; n < 0 || n > maxDecimals {
			c.invalid(at, "bad number of decimals %d: from 0 to %d", n, maxDecimals)
		}
	}
	for _, name := range keys(q.TTL) {
		at := join(path+".ttl", name)
		sent(at, name)
		if ttl := q.TTL[name]; ttl <= 0 || ttl >= d.TTL {
			c.invalid(at, "a parameter's ttl must be more than 0s and less than the cache's ttl")
		}
		rule.TTL[name] = q.TTL[name].Std()
	}
	return rule
}

// set gives a list as a set, nil for an empty one.
func set(list []string) map[string]bool {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}
