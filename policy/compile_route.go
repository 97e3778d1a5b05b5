package policy

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// A route's methods and headers are compared with those of each other route.
const maxMethods, maxHeaders = 16, 16

var sessionModes = map[string]SessionMode{"off": SessionOff, "optional": SessionOptional, "required": SessionRequired}

func (c *compiler) routes(limits map[string]*Limit) []*Route {
	defs := c.policy.Routes
	routes := make([]*Route, len(defs))
	named := map[string]*Route{}
	for i := range defs {
		r := c.route(index("routes", i), &defs[i], limits)
		if first := named[r.Name]; first != nil && r.Name != "" {
			c.invalid(index("routes", i)+".name", "duplicate route name %q (first at line %d)", r.Name, first.Position.Line)
		} else {
			named[r.Name] = r
		}
		routes[i] = r
	}
	c.conflicts(routes)
	return routes
}

func (c *compiler) route(path string, def *RouteDef, limits map[string]*Limit) *Route {
	r := &Route{
		Name:          def.Name,
		Position:      c.at(path),
		Upstream:      def.Upstream,
		Deny:          def.Deny,
		Session:       sessionModes[def.Session],
		SessionSignal: def.SessionSignal,
	}
	if c.given(path + ".name") {
		c.name(path+".name", "route", def.Name)
	}
	c.match(path+".match", &def.Match, r)
	c.destination(path, def)
	r.Limits = c.routeLimits(path+".limits", def.Limits, limits, r.pattern)
	if def.SessionSignal && def.Session == "off" && c.sound(path+".session") {
		c.invalid(path+".session_signal", "session_signal needs session: optional or required")
	}
	if def.Cache != nil {
		r.Cache = c.cacheRule(path+".cache", def.Cache, r)
		c.cacheOffload(path+".cache", def.Cache)
		if c.sound(path + ".session") {
			c.cacheSession(path+".cache", r)
		}
	}
	c.bounds(path, def, r)
	r.Invalidates = c.templates(path+".invalidates", def.Invalidates, r.pattern)
	for i, protocol := range def.Upgrade {
		if protocol != "websocket" {
			c.invalid(c.item(path+".upgrade", i), "expected websocket, found %q", clip(protocol))
		}
		r.WebSocket = true
	}
	return r
}

// bounds fills in what bounds a route's requests.
func (c *compiler) bounds(path string, def *RouteDef, r *Route) {
	r.Timeout, r.Progress = c.policy.Upstreams[def.Upstream].Timeout.Std(), c.policy.Server.Timeouts.Progress.Std()
	r.MaxBody = int64(c.policy.Server.MaxBody)
	if c.has(path + ".timeout") {
		c.positive(path+".timeout", def.Timeout)
		r.Timeout = def.Timeout.Std()
	}
	if c.has(path + ".progress") {
		c.positive(path+".progress", def.Progress)
		r.Progress = def.Progress.Std()
	}
	if c.has(path + ".max_body") {
		r.MaxBody = int64(def.MaxBody)
	}
}

// match compiles which requests a route takes.
func (c *compiler) match(path string, def *MatchDef, r *Route) {
	if c.given(path + ".path") {
		p, err := parsePattern(def.Path)
		if err != nil {
			meant := ""
			if likely := likelyPattern(def.Path); likely != "" {
				meant = fmt.Sprintf(" (did you mean %q?)", clip(likely))
			}
			c.invalid(path+".path", "bad path pattern %q: %v%s", clip(def.Path), err, meant)
		}
		r.Pattern, r.pattern = def.Path, p
	}
	if len(def.Methods) > maxMethods {
		c.invalid(path+".methods", "more than %d methods", maxMethods)
		def.Methods = def.Methods[:maxMethods]
	}
	for i, method := range def.Methods {
		c.method(c.item(path+".methods", i), method)
		if slices.Contains(def.Methods[:i], method) {
			c.invalid(c.item(path+".methods", i), "duplicate method %q", method)
			continue
		}
		r.Methods = append(r.Methods, method)
	}
	if def.Host != "" {
		c.host(path+".host", def.Host)
		r.Host = NormalHost(def.Host)
	}
	if len(def.Header) > maxHeaders {
		c.invalid(path+".header", "more than %d headers", maxHeaders)
		return
	}
	for _, name := range keys(def.Header) {
		at, value := join(path+".header", name), def.Header[name]
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !isToken(name):
			c.invalid(at, "bad header name %q", clip(name))
		case canonical == "Host":
			c.invalid(at, "match the host by host:")
		case value == "":
			c.invalid(at, "an empty value matches nothing")
		case slices.ContainsFunc(r.header, func(h headerMatch) bool { return h.name == canonical }):
			c.invalid(at, "duplicate header %q", canonical)
		}
		r.header = append(r.header, headerMatch{canonical, value})
	}
}

func (c *compiler) host(path, host string) {
	hosts := c.policy.Server.Hosts
	if !isHost(host) {
		c.invalid(path, "bad host %q (a name or an address, without scheme and port)", clip(host))
	} else if len(hosts) > 0 && !slices.Contains(hosts, NormalHost(host)) {
		c.invalid(path, "unreachable: %q is not among server.hosts%s", host, suggest(host, hosts))
	}
}

// method checks a method's name. Unknown ones are fine, as they are for HTTP.
func (c *compiler) method(path, method string) {
	upper := strings.ToUpper(method)
	switch {
	case !isToken(method) || strings.Trim(upper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "":
		c.invalid(path, "bad method %q", clip(method))
	case method != upper:
		c.invalid(path, "bad method %q (did you mean %q?)", clip(method), clip(upper))
	case method == "CONNECT" || method == "TRACE":
		c.invalid(path, "%s is never served", method)
	}
}

// destination checks that a route either forwards or denies.
func (c *compiler) destination(path string, def *RouteDef) {
	upstreams := c.policy.Upstreams
	switch {
	case def.Upstream == "" && def.Deny == 0:
		if c.sound(path+".upstream", path+".deny") {
			c.missing(path, "the route needs an upstream, or deny with a status")
		}
	case def.Upstream != "" && def.Deny != 0:
		c.invalid(path+".deny", "a route has an upstream or deny, not both")
	case def.Deny != 0:
		c.deniedKeys(path)
	default:
		if _, ok := upstreams[def.Upstream]; !ok && c.known("upstreams", len(upstreams)) {
			c.invalid(path+".upstream", "unknown upstream %q%s", clip(def.Upstream), suggest(def.Upstream, keys(upstreams)))
		}
	}
}

// deniedKeys reports what has no meaning on a route that asks nobody.
func (c *compiler) deniedKeys(path string) {
	for _, key := range []string{"limits", "session", "session_signal", "cache", "invalidates", "upgrade", "timeout", "progress", "max_body"} {
		if c.has(path + "." + key) {
			c.invalid(path+"."+key, "%s needs an upstream: a denied request gets no further", key)
		}
	}
}

// known reports whether references into a section of n names can be checked: not
// if the section itself is missing because its key is misspelt or unreadable.
func (c *compiler) known(section string, n int) bool {
	return n > 0 || !c.typos[""] && !slices.Contains(c.bad, section)
}

func (c *compiler) routeLimits(path string, names StringList, limits map[string]*Limit, p pattern) []*Limit {
	var list []*Limit
	for i, name := range names {
		l := limits[name]
		at := c.item(path, i)
		switch {
		case l == nil && c.known("limits", len(limits)):
			c.invalid(at, "unknown limit %q%s", clip(name), suggest(name, keys(limits)))
		case slices.Contains(names[:i], name):
			c.invalid(at, "duplicate limit %q", clip(name))
		case l != nil:
			if wrong := missingPathValue(l.Key, p); wrong != "" && len(p.segments) > 0 {
				c.invalid(at, "limit %q is counted by path:%s, and the path pattern has no {%s}", name, wrong, wrong)
			}
			list = append(list, l)
		}
	}
	return list
}

// missingPathValue names a path value of the key that p does not have, or "".
func missingPathValue(key []Source, p pattern) string {
	for _, s := range key {
		if s.Kind == SourcePath && !p.has(s.Name) {
			return s.Name
		}
	}
	return ""
}
