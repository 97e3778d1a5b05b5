package policy

import (
	"net/textproto"
	"slices"
	"time"
)

// maxDecimals is beyond what a float64 holds of a coordinate.
const maxDecimals = 12

// cacheRule compiles the cache section of r, whose other parts are compiled.
func (c *compiler) cacheRule(path string, d *CacheDef, r *Route) *CacheRule {
	rule := &CacheRule{
		Strict:               d.Mode == "strict",
		TTL:                  d.TTL.Std(),
		StaleWhileRevalidate: d.StaleWhileRevalidate.Std(),
		StaleIfError:         d.StaleIfError.Std(),
		Query:                c.queryRule(path+".query", d),
		Key:                  c.sources(path+".key", d.Key, cacheSources),
		Bypass:               c.sources(path+".bypass", d.Bypass, cacheSources),
		Tags:                 c.templates(path+".tags", d.Tags, r.pattern),
	}
	if rule.Strict && d.TTL > 0 {
		c.invalid(path+".ttl", "mode: strict leaves the lifetime to the origin")
	}
	for i, name := range d.Vary {
		if !isToken(name) || name == "*" {
			c.invalid(c.item(path+".vary", i), "bad header name %q", clip(name))
		}
		rule.Vary = append(rule.Vary, textproto.CanonicalMIMEHeaderKey(name))
	}
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, "GET") && !slices.Contains(r.Methods, "HEAD") {
		c.invalid(path, "the route takes neither GET nor HEAD, and nothing else is cached")
	}
	return rule
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

// queryRule compiles which parameters count.
func (c *compiler) queryRule(path string, d *CacheDef) QueryRule {
	q := &d.Query
	rule := QueryRule{Allow: set(q.Allow), Deny: set(q.Deny), Round: q.Round, TTL: map[string]time.Duration{}}
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
