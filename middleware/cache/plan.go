package cache

import (
	"cmp"
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// plan decides what the cache does with a request of a cached route, except for the look-up. Its
// tags are filled in on a miss.
func (c *Cache) plan(ex *exchange.Exchange, r *http.Request, cc rfc9111.CacheControl) exchange.Plan {
	v, rule := &ex.View, ex.Route.Cache
	if v.Method != http.MethodGet && v.Method != http.MethodHead && v.Method != methodQuery {
		return exchange.Plan{Now: v.Now, Query: v.Query, Control: cc, Forward: forwardMethod}
	}
	p := exchange.Plan{Now: v.Now, Query: rule.Query.Apply(v.Query), Control: cc}
	var content string
	if v.Method == methodQuery {
		content = queryContent(r)
	}
	if why := bypass(ex, r); why != "" || v.Method == methodQuery && content == "" {
		p.Forward, p.Detail = forwardBypass, cmp.Or(why, "content")
		return p
	}
	p.Lookup = true
	p.Store = !cc.NoStore
	p.Shared = (*sent)(ex).shared()
	k := keyed{query: p.Query, content: content}
	if p.Query != "" && content == "" {
		k.rule = c.searchRule(ex)
	}
	p.Key = key(ex, k)
	return p
}

// bypass says why a GET, HEAD or QUERY bypasses the cache, as a token (RFC 9651, 3.3.4); "": it
// does not. The policy may demand it, or the request needs the origin: for a precondition (RFC
// 9110, 13.1.1 and 13.1.4), another protocol, or content. In managed mode so does Authorization; in
// strict mode RFC 9111, 3.5 decides. A field counts even if it is empty, since of several lines an
// upstream may read any.
func bypass(ex *exchange.Exchange, r *http.Request) string {
	h := ex.View.Header
	if why := bypassed(ex); why != "" {
		return why
	}
	for _, name := range [...]string{"If-Match", "If-Unmodified-Since", "Upgrade"} {
		if len(h.Values(name)) > 0 {
			return name
		}
	}
	query := ex.View.Method == methodQuery
	switch {
	case query && len(h.Values("Range")) > 0:
		return "Range"
	case !query && r.ContentLength != 0: // also of unknown length
		return "content"
	case ex.Route.SessionSignal: // its responses may log the client in
		return "session_signal"
	case !ex.Route.Cache.Strict && len(h.Values("Authorization")) > 0:
		return "Authorization"
	}
	return ""
}

// bypassed says which of the policy's bypass conditions a request meets; "": none.
func bypassed(ex *exchange.Exchange) string {
	for _, s := range ex.Route.Cache.Bypass {
		if present(ex, s) {
			return bypassToken(s)
		}
	}
	return ""
}

// bypassToken names a condition as the policy does.
func bypassToken(s policy.Source) string {
	switch s.Kind {
	case policy.SourceHeader:
		return "header:" + s.Name
	case policy.SourceCookie:
		return "cookie:" + s.Name
	}
	return "session"
}

func present(ex *exchange.Exchange, s policy.Source) bool {
	switch s.Kind {
	case policy.SourceSession, policy.SourceSessionUser:
		return !ex.Principal.Anonymous()
	case policy.SourceHeader:
		return len(ex.View.Header.Values(s.Name)) > 0
	case policy.SourceCookie:
		for name := range policy.Cookies(ex.View.Header) {
			if policy.SameCookie(name, s.Name) {
				return true // even if its value is empty
			}
		}
	}
	return false
}

// uriTag is the tag that every entry has for its URI. It has no query, since only the route of the
// GET knows which parameters are keyed: a write purges all variants of a path.
func uriTag(host, path string) string { return "uri:" + host + path }

// tagAll is the tag of every entry.
const tagAll = "*"

// routeTag is the tag of a route's entries.
func routeTag(name string) string { return "route:" + name }

// tagsOf returns the tags of the entry that a request would store.
func tagsOf(ex *exchange.Exchange) []string {
	tags := make([]string, 0, len(ex.Route.Cache.Tags)+3)
	for _, t := range ex.Route.Cache.Tags {
		tags = append(tags, t.Expand(ex.Params))
	}
	if who := ex.Principal; ex.Route.Cache.Private() && !who.Anonymous() {
		tags = append(tags, sessionTags(who)...)
	}
	return append(tags, uriTag(ex.View.Host, ex.View.Path), routeTag(ex.Route.Name), tagAll)
}

// requestControl parses a request's directives. Pragma: no-cache counts only without a
// Cache-Control (RFC 9111, 5.4).
func requestControl(ex *exchange.Exchange) rfc9111.CacheControl {
	lines := ex.View.Header.Values("Cache-Control")
	if len(lines) == 0 {
		lines = ex.View.Header.Values("Pragma")
		return rfc9111.CacheControl{NoCache: len(lines) > 0 && rfc9111.ParseCacheControl(lines).NoCache}
	}
	return rfc9111.ParseCacheControl(lines)
}

// targets is the target list of this cache (RFC 9213, 2.2), its own field first. The fields also go
// on to the client, which may be a cache too.
var targets = []string{"Edge-Cache-Control", "Cdn-Cache-Control", "Surrogate-Control"}

// responseControl parses a response's directives.
func responseControl(h http.Header) rfc9111.CacheControl { return rfc9111.ResponseControl(h, targets) }
