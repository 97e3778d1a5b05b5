package policy

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// A route's methods and headers are compared with those of each other route.
const maxMethods, maxHeaders = 16, 16

var sessionModes = map[string]SessionMode{"off": SessionOff, "optional": SessionOptional, "required": SessionRequired}

func (c *compiler) routes(s *Snapshot) []*Route {
	defs := c.policy.Routes
	routes := make([]*Route, len(defs))
	named := map[string]*Route{}
	for i := range defs {
		r := c.route(c.Item("routes", i), &defs[i], s)
		if first := named[r.Name]; first != nil && r.Name != "" {
			c.Invalid(c.Item("routes", i)+".name", "duplicate route name %q (first at line %d)", r.Name, first.Position.Line)
		} else {
			named[r.Name] = r
		}
		routes[i] = r
	}
	c.conflicts(routes)
	return routes
}

func (c *compiler) route(path string, def *RouteDef, s *Snapshot) *Route {
	r := &Route{
		Name:          def.Name,
		Position:      c.At(path),
		Upstream:      def.Upstream,
		Deny:          def.Deny,
		Session:       sessionModes[def.Session],
		SessionSignal: def.SessionSignal,
	}
	if c.Given(path + ".name") {
		c.name(path+".name", "route", def.Name)
	}
	c.match(path+".match", &def.Match, r)
	c.destination(path, def)
	r.Limits = c.routeLimits(path+".limits", def.Limits, s.Limits, r.pattern)
	c.InvalidIf(def.SessionSignal && def.Session == "off" && c.Sound(path+".session"), path+".session_signal", "session_signal needs session: optional or required")
	if def.Cache != nil {
		r.Cache = c.cacheRule(path+".cache", def.Cache, r)
		c.cacheOffload(path+".cache", def.Cache)
		if c.Sound(path + ".session") {
			c.cacheSession(path+".cache", r)
		}
	}
	c.bounds(path, def, r)
	r.Invalidates = c.templates(path+".invalidates", def.Invalidates, r.pattern)
	r.WebSocket = len(def.Upgrade) > 0
	r.Logged = c.routeLog(path+".log", def.Log, s.Log.Shares)
	return r
}

// bounds fills in the limits of a route's requests.
func (c *compiler) bounds(path string, def *RouteDef, r *Route) {
	r.Timeout, r.Progress = c.policy.Upstreams[def.Upstream].Timeout.Std(), c.policy.Server.Timeouts.Progress.Std()
	r.MaxBody, r.Fills = int64(c.policy.Server.MaxBody), c.policy.Upstreams[def.Upstream].Fills
	r.Buffer = int64(c.policy.Upstreams[def.Upstream].Buffer)
	r.HTTP2 = slices.ContainsFunc(c.policy.Upstreams[def.Upstream].Targets, func(target string) bool { return !strings.HasPrefix(target, "http:") })
	if c.Has(path + ".timeout") {
		r.Timeout = def.Timeout.Std()
	}
	if c.Has(path + ".progress") {
		r.Progress = def.Progress.Std()
	}
	if c.Has(path + ".max_body") {
		r.MaxBody = int64(def.MaxBody)
	}
}

// match compiles which requests a route takes.
func (c *compiler) match(path string, def *MatchDef, r *Route) {
	if c.Given(path + ".path") {
		p, err := parsePattern(def.Path)
		if err != nil {
			meant := ""
			if likely := likelyPattern(def.Path); likely != "" {
				meant = fmt.Sprintf(" (did you mean %q?)", yamlfile.Clip(likely))
			}
			c.Invalid(path+".path", "bad path pattern %q: %v%s", yamlfile.Clip(def.Path), err, meant)
		}
		r.Pattern, r.pattern = def.Path, p
	}
	if len(def.Methods) > maxMethods {
		c.Invalid(path+".methods", "more than %d methods", maxMethods)
		def.Methods = def.Methods[:maxMethods]
	}
	for i, method := range def.Methods {
		if slices.Contains(def.Methods[:i], method) {
			c.Invalid(c.Item(path+".methods", i), "duplicate method %q", method)
			continue
		}
		r.Methods = append(r.Methods, method)
	}
	if def.Host != "" {
		r.Host = NormalHost(def.Host)
		if hosts := c.policy.Server.Hosts; isHost(def.Host) && len(hosts) > 0 && !slices.Contains(hosts, r.Host) {
			c.Invalid(path+".host", "unreachable: %q is not among server.hosts%s", def.Host, yamlfile.Suggest(def.Host, hosts))
		}
	}
	if len(def.Header) > maxHeaders {
		c.Invalid(path+".header", "more than %d headers", maxHeaders)
		return
	}
	for _, name := range keys(def.Header) {
		at, value := path+".header."+name, def.Header[name]
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !isToken(name):
			c.Invalid(at, "bad header name %q", yamlfile.Clip(name))
		case canonical == "Host":
			c.Invalid(at, "match the host by host:")
		case value == "":
			c.Invalid(at, "an empty value matches nothing")
		case slices.ContainsFunc(r.header, func(h headerMatch) bool { return h.name == canonical }):
			c.Invalid(at, "duplicate header %q", canonical)
		}
		r.header = append(r.header, headerMatch{canonical, value})
	}
}

// destination checks that a route either forwards or denies.
func (c *compiler) destination(path string, def *RouteDef) {
	upstreams := c.policy.Upstreams
	_, found := upstreams[def.Upstream]
	switch {
	case def.Upstream == "" && def.Deny == 0:
		if c.Sound(path+".upstream", path+".deny") {
			c.Missing(path, "the route needs an upstream, or deny with a status")
		}
	case def.Upstream != "" && def.Deny != 0:
		c.Invalid(path+".deny", "a route has an upstream or deny, not both")
	case def.Deny != 0:
		for _, key := range []string{"limits", "session", "session_signal", "cache", "invalidates", "upgrade", "timeout", "progress", "max_body"} {
			c.InvalidIf(c.Has(path+"."+key), path+"."+key, "%s needs an upstream: with deny there is none", key)
		}
	case !found && c.known("upstreams", len(upstreams)):
		c.Invalid(path+".upstream", "unknown upstream %q%s", yamlfile.Clip(def.Upstream), yamlfile.Suggest(def.Upstream, keys(upstreams)))
	}
}

// known reports whether references into a section of n names can be checked: not
// if the section itself is missing because its key is misspelt or unreadable.
func (c *compiler) known(section string, n int) bool {
	return n > 0 || !c.Misspelt("") && !c.Unread(section)
}

func (c *compiler) routeLimits(path string, names StringList, limits map[string]*Limit, p pattern) []*Limit {
	var list []*Limit
	lacks := func(s Source) bool { return s.Kind == SourcePath && len(p.segments) > 0 && !p.has(s.Name) }
	for i, name := range names {
		l := limits[name]
		at := c.Item(path, i)
		switch {
		case l == nil && c.known("limits", len(limits)):
			c.Invalid(at, "unknown limit %q%s", yamlfile.Clip(name), yamlfile.Suggest(name, keys(limits)))
		case slices.Contains(names[:i], name):
			c.Invalid(at, "duplicate limit %q", yamlfile.Clip(name))
		case l != nil:
			if value := slices.IndexFunc(l.Key, lacks); value >= 0 {
				c.Invalid(at, "limit %q is counted by path:%[2]s, and the path pattern has no {%[2]s}", name, l.Key[value].Name)
			}
			list = append(list, l)
		}
	}
	return list
}

// conflicts reports routes that are never reached, and routes whose patterns overlap
// while neither is more specific: the winner would depend on their order.
func (c *compiler) conflicts(routes []*Route) {
	const enough = 10 * yamlfile.MaxErrors
	for j, later := range routes {
		if len(c.Errors) > enough {
			return
		}
		at := c.Item("routes", j) + ".match.path"
		taken := map[string]*Route{} // by method, by an earlier route with the same pattern
		for _, earlier := range routes[:j] {
			paths := earlier.pattern.compare(later.pattern)
			if earlier.Host == later.Host && !paths.disjoint && !contradict(earlier.header, later.header) {
				c.compareRoutes(at, earlier, later, paths, taken)
			}
		}
		methods := later.specificMethods()
		if len(taken) == len(methods) {
			by := taken[methods[0]]
			c.Invalid(at, "unreachable: route %q (line %d) takes these requests first", by.Name, by.Position.Line)
			continue
		}
		for _, method := range keys(taken) {
			c.Invalid(at, "%s never reaches this route: route %q (line %d) takes it first", method, taken[method].Name, taken[method].Position.Line)
		}
	}
}

// compareRoutes reports a conflict of two routes whose paths have the relation paths. In
// taken it notes the methods that the earlier one takes completely.
func (c *compiler) compareRoutes(at string, earlier, later *Route, paths relation, taken map[string]*Route) {
	for _, a := range earlier.specificMethods() {
		for _, b := range later.specificMethods() {
			r, why := paths.and(compareMethods(a, b)), "one has the more specific path, the other the more specific methods; give both the same methods"
			if paths.overlaps() {
				why = "both match some paths, and neither is more specific"
			}
			switch {
			case r.same() && implies(later.header, earlier.header):
				if taken[b] == nil {
					taken[b] = earlier
				}
			case r.overlaps():
				c.Invalid(at, "conflicts with route %q (line %d): %s", earlier.Name, earlier.Position.Line, why)
				return
			}
		}
	}
}

// contradict reports whether no request can satisfy both conditions.
func contradict(a, b []headerMatch) bool {
	return slices.ContainsFunc(a, func(x headerMatch) bool {
		return slices.ContainsFunc(b, func(y headerMatch) bool { return x.name == y.name && x.value != y.value })
	})
}

// implies reports whether every request that satisfies a satisfies b.
func implies(a, b []headerMatch) bool {
	return !slices.ContainsFunc(b, func(h headerMatch) bool { return !slices.Contains(a, h) })
}
