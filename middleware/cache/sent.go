package cache

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// The key covers what is sent. A request whose response is shared is built only from the parts that
// its key and variant contain. So no other part of it can change what other clients get.

// constants replace, on managed routes, fields that identify the client.
var constants = map[string][]string{"Accept": {"*/*"}, "User-Agent": {"gateway"}}

// expected are fields of nearly every client, which are not logged.
var expected = []string{"Accept", "User-Agent", "Cache-Control", "Pragma", "Tracestate"}

// ownFields are set by the gateway in each upstream request, and so are kept.
var ownFields = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id", "Traceparent"}

// cacheFields are handled by the cache itself, which knows how to use their responses.
var cacheFields = []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"}

// maxRouteFields bounds the fields of one route that its responses declare, and those that were
// logged.
const maxRouteFields = 64

// maxFieldName bounds the length of remembered field names, and maxAlso the fields for which one
// request is sent again.
const maxFieldName, maxAlso = 64, 8

// sent presents the fields of a request as the upstream gets them; Vary selects by these (RFC 9111,
// 4.1). Stripped fields are absent.
type sent exchange.Exchange

var _ policy.Fields = (*sent)(nil)

// Values implements policy.Fields. On managed routes it treats all fields as declared: the others
// become so before an entry that varies by them is stored.
func (s *sent) Values(name string) []string {
	switch {
	case name == "Cookie":
		if line := s.cookies(); line != "" {
			return []string{line}
		}
		return nil
	case policy.StaysBehind(name) || name == "Origin" && s.constant(name):
		return nil
	}
	return s.View.Header.Values(name)
}

// Get implements policy.Fields.
func (s *sent) Get(name string) string {
	if values := s.Values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// shared reports whether anyone may get the response to the request.
func (s *sent) shared() bool { return !s.Route.Cache.Private() || s.Principal.Anonymous() }

// built reports whether only declared fields go upstream.
func (s *sent) built() bool { return !s.Route.Cache.Strict && s.shared() }

// constant reports whether a field is the same in all requests of the route, or in none of them,
// whatever responses declare.
func (s *sent) constant(name string) bool {
	switch name {
	case "Cookie", "Accept-Encoding":
		return s.built()
	case "Origin": // cors answers it
		return s.built() && len(s.Snapshot.Policy.CORS.Origins) > 0
	}
	return policy.StaysBehind(name)
}

// cookies is the single Cookie line that goes upstream; "": none. If the response is shared, the
// line has, in strict mode, all cookies but those kept in sessions; on a managed route only the
// keyed ones, in the order of the key.
func (s *sent) cookies() string {
	own, offload, rule := s.Snapshot.Policy.Session.Cookie.Name, s.Snapshot.Policy.Session.Offload, s.Route.Cache
	var line []byte
	add := func(want func(name string) bool) {
		for name, value := range policy.Cookies(s.View.Header) {
			if name == own || s.shared() && slices.Contains(offload, name) || !want(name) {
				continue
			}
			if len(line) > 0 {
				line = append(line, "; "...)
			}
			line = append(append(append(line, name...), '='), value...)
		}
	}
	if !s.built() || slices.Contains(rule.Vary, "Cookie") || rule.Sends("Cookie") {
		add(func(string) bool { return true })
		return string(line)
	}
	for _, source := range rule.Key {
		if source.Kind == policy.SourceCookie {
			add(func(name string) bool { return name == source.Name })
		}
	}
	return string(line)
}

// declared reports whether a field may change the route's responses: the policy or a response said
// so.
func (s *sent) declared(name string, learned map[string]bool) bool {
	return slices.Contains(s.Route.Cache.Vary, name) || learned[name]
}

// ambiguous reports whether an upstream may parse other cookies than those that key and bypass
// used.
func (s *sent) ambiguous() bool {
	rule := s.Route.Cache
	if !rule.ReadsCookies() {
		return false
	}
	for name, value := range policy.Cookies(s.View.Header) {
		alike := func(source policy.Source) bool {
			return source.Kind == policy.SourceCookie && source.Name != name && policy.SameCookie(source.Name, name)
		}
		if !policy.PlainCookie(value) || slices.ContainsFunc(rule.Key, alike) {
			return true
		}
	}
	return false
}

// build reduces the header of an upstream request to what was keyed, and remembers which of the
// client's fields are not sent.
func (c *call) build(h http.Header) {
	s, route := (*sent)(c.ex), c.ex.Route
	delete(h, "Cookie")
	if line := s.cookies(); line != "" {
		h["Cookie"] = []string{line}
	}
	if !s.built() {
		return
	}
	if c.stored != nil { // another gateway may have filled it
		c.declare(c.stored)
	}
	c.learned, c.unsent = c.cache.declared.of(route.Name), c.unsent[:0]
	for name, values := range h {
		switch {
		case name == "Cookie", slices.Contains(ownFields, name), slices.Contains(cacheFields, name), route.Cache.Sends(name),
			c.ex.View.Method == methodQuery && slices.Contains(contentFields[:], name):
		case name == "Via": // the last value is the gateway's
			h[name] = values[len(values)-1:]
		case s.constant(name):
			delete(h, name)
		case s.declared(name, c.learned), slices.Contains(c.also, name):
			h[name] = []string{rfc9111.Selecting(name, values)}
		default:
			delete(h, name)
			c.unsent = append(c.unsent, name)
		}
	}
	for name, values := range constants {
		if !route.Cache.Sends(name) && !s.declared(name, c.learned) && !slices.Contains(c.also, name) {
			h[name] = values
		}
	}
	c.cache.tell(route, c.unsent)
}

// untold reports whether a response varies by a field of the client that was not sent, so that the
// request must be sent again with it.
func (c *call) untold(h http.Header) bool {
	before := len(c.also)
	for _, name := range rfc9111.VaryNames(h) {
		if slices.Contains(c.unsent, name) && len(c.also) < maxAlso {
			c.also = append(c.also, name)
		}
	}
	return len(c.also) > before
}

// declare makes the fields by which a stored response varies be sent on its whole route from now
// on. A response that is not stored changes nothing for others.
func (c *call) declare(e *Entry) {
	if s := (*sent)(c.ex); s.built() {
		for _, name := range e.Vary {
			if !s.constant(name) {
				c.cache.declared.add(c.ex.Route.Name, name)
			}
		}
	}
}

// tell logs the fields that a route does not send, each once.
func (c *Cache) tell(route *policy.Route, unsent []string) {
	var news []string
	for _, name := range unsent {
		if !slices.Contains(expected, name) && c.told.add(route.Name, name) {
			news = append(news, name)
		}
	}
	if len(news) == 0 {
		return
	}
	slices.Sort(news)
	list := "[" + strings.Join(news, ", ") + "]"
	c.log.Info("request fields that a cached route does not declare are not sent upstream", slog.String("route", route.Name),
		slog.String("at", route.Position.String()), slog.String("add", "pass: "+list+", or vary: with the fields that change the response"))
}

// tellOfCookies logs, once for each route, that its responses vary by Cookie, which does not have
// the effect that the upstream intends.
func (c *call) tellOfCookies(h http.Header) {
	route := c.ex.Route
	if !slices.Contains(rfc9111.VaryNames(h), "Cookie") || !c.cache.told.add(route.Name, "Vary: Cookie") {
		return
	}
	so := "each client's cookies make a variant of their own, so hits are rare"
	if s := (*sent)(c.ex); s.constant("Cookie") && !slices.Contains(route.Cache.Vary, "Cookie") && !route.Cache.Sends("Cookie") {
		so = "it selects nothing, since the route only sends the cookies in its key upstream"
	}
	c.cache.log.Warn("responses of a cached route say Vary: Cookie", slog.String("route", route.Name), slog.String("at", route.Position.String()), slog.String("so", so))
}

// routeFields are names of request fields by route, a bounded number of each.
type routeFields struct {
	mu    sync.RWMutex
	names map[string]map[string]bool // guarded by mu; the inner ones are replaced, never changed
}

func (f *routeFields) of(route string) map[string]bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.names[route]
}

// add reports whether the name is new and was added.
func (f *routeFields) add(route, name string) bool {
	if f.of(route)[name] {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.names[route]
	if known[name] || len(name) > maxFieldName || len(known) >= maxRouteFields || known == nil && len(f.names) >= maxNotes {
		return false
	}
	more := maps.Clone(known)
	if more == nil {
		more = map[string]bool{}
	}
	more[name] = true
	if f.names == nil {
		f.names = map[string]map[string]bool{}
	}
	f.names[route] = more
	return true
}
