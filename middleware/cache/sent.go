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

// What is keyed is what is sent. A request that fills what many get is built from
// what its key and its variant hold, so that no part of it that nobody looked at
// can change what the others get.

// constants are sent in place of what says who asks, on managed routes.
var constants = map[string][]string{"Accept": {"*/*"}, "User-Agent": {"gateway"}}

// expected are fields of nearly every client, of which the log does not tell.
var expected = []string{"Accept", "User-Agent", "Cache-Control", "Pragma"}

// ownFields are set anew in each request that goes upstream, and so stay in it.
var ownFields = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"}

// cacheFields are read by the cache itself: it knows what their answers are good
// for.
var cacheFields = []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"}

// maxRouteFields bounds the fields of one route that its responses declare, and
// those of which the log told.
const maxRouteFields = 64

// maxFieldName bounds the names of fields that are remembered, and maxAlso those that
// one request is sent again for.
const maxFieldName, maxAlso = 64, 8

// sent gives the fields of a request as its upstream gets them: by these Vary
// selects (RFC 9111, 4.1). What is stripped on the way is absent.
type sent exchange.Exchange

var _ policy.Fields = (*sent)(nil)

// Values implements policy.Fields. On managed routes it takes all fields for
// declared: those that are not get so before anything is stored by them.
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

// shared reports whether anyone may get what the request fills.
func (s *sent) shared() bool { return !s.Route.Cache.Private() || s.Principal.Anonymous() }

// built reports whether only declared fields go upstream.
func (s *sent) built() bool { return !s.Route.Cache.Strict && s.shared() }

// constant reports whether a field is the same in all requests of the route, or
// in none of them, whatever responses say.
func (s *sent) constant(name string) bool {
	switch name {
	case "Cookie", "Accept-Encoding":
		return s.built()
	case "Origin": // cors answers it
		return s.built() && len(s.Snapshot.Policy.CORS.Origins) > 0
	}
	return policy.StaysBehind(name)
}

// cookies is the one line of cookies that goes upstream; "": none. Where others
// get the response these are, by the standard, all but those that stay in
// sessions; on a managed route only the keyed ones, in the order of the key.
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

// declared reports whether a field may change what the route's responses are: the
// policy says so, or a response did.
func (s *sent) declared(name string, learned map[string]bool) bool {
	return slices.Contains(s.Route.Cache.Vary, name) || learned[name]
}

// ambiguous reports whether an upstream may read other cookies than the ones that
// key and bypass are about.
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

// build makes the header of a request upstream that of what was keyed, and
// remembers which of the client's fields are not sent.
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
		case name == "Via": // the client's are before the gateway's
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

// untold reports whether a response varies by a field of the client's that was not
// sent, and is to be asked for again with it.
func (c *call) untold(h http.Header) bool {
	before := len(c.also)
	for _, name := range rfc9111.VaryNames(h) {
		if slices.Contains(c.unsent, name) && len(c.also) < maxAlso {
			c.also = append(c.also, name)
		}
	}
	return len(c.also) > before
}

// declare makes what a stored response varies by be sent on its whole route from now
// on. What is not stored changes nothing for others.
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
		slog.String("at", route.Position.String()), slog.String("add", "pass: "+list+", or vary: with those that change the response"))
}

// tellOfCookies logs, once for each route, that its responses vary by Cookie, which
// does not do what their upstream means by it.
func (c *call) tellOfCookies(h http.Header) {
	route := c.ex.Route
	if !slices.Contains(rfc9111.VaryNames(h), "Cookie") || !c.cache.told.add(route.Name, "Vary: Cookie") {
		return
	}
	so := "each client's cookies make a variant of their own, and hits are rare"
	if s := (*sent)(c.ex); s.constant("Cookie") && !slices.Contains(route.Cache.Vary, "Cookie") && !route.Cache.Sends("Cookie") {
		so = "it selects nothing, since of cookies the route sends upstream those in key alone"
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

// add reports whether the name is new, and remembered.
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
