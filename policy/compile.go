package policy

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// compile checks what only the whole policy can tell and fills s with what
// requests need. Everything wrong is added to the document.
func compile(doc *document, s *Snapshot) {
	c := &compiler{document: doc, policy: s.Policy}
	c.server()
	c.redis()
	for _, name := range keys(s.Policy.Upstreams) {
		c.upstream(name)
	}
	s.Limits = c.limits()
	c.session()
	c.cache()
	c.cors()
	s.Routes = c.routes(s.Limits)
	s.table = newTable(s.Routes)
}

type compiler struct {
	*document
	policy *Policy
}

// positive reports a duration that must not be 0 and is.
func (c *compiler) positive(path string, d Duration) {
	if d <= 0 {
		c.invalid(path, "%s must be more than 0s", path[strings.LastIndexByte(path, '.')+1:])
	}
}

// name checks a name that appears in logs, metrics and headers.
func (c *compiler) name(path, kind, name string) {
	const most = 64
	if bad := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"); bad != "" || name == "" || len(name) > most {
		c.invalid(path, "bad %s name %q (letters, digits, - and _, at most %d)", kind, clip(name), most)
	}
}

func (c *compiler) server() {
	s := &c.policy.Server
	if wrong := addressProblem(s.Listen); wrong != "" {
		c.invalid("server.listen", "bad address %q: %s", s.Listen, wrong)
	}
	if wrong := addressProblem(s.Admin); s.Admin != "" && wrong != "" {
		c.invalid("server.admin", "bad address %q: %s", s.Admin, wrong)
	}
	if s.Peers != "" {
		c.invalid("server.peers", "peers is not available in this version")
	}
	for i, host := range s.Hosts {
		if !isHost(host) {
			c.invalid(index("server.hosts", i), "bad host %q (a name or an address, without scheme and port)", host)
		}
		s.Hosts[i] = normalHost(host)
	}
	if s.DataDir == "" {
		c.invalid("server.data_dir", "data_dir must not be empty")
	}
	c.positive("server.timeouts.read_header", s.Timeouts.ReadHeader)
	c.positive("server.timeouts.progress", s.Timeouts.Progress)
	c.positive("server.timeouts.idle", s.Timeouts.Idle)
	if s.MaxHeader < 1<<10 || s.MaxHeader > 1<<20 {
		c.invalid("server.max_header", "max_header must be from 1KiB to 1MiB")
	}
}

func (c *compiler) redis() {
	r := &c.policy.Redis
	if wrong := redisProblem(r.URL); wrong != "" {
		c.invalid("redis.url", "%s", wrong)
	}
	c.positive("redis.budget", r.Budget)
}

func (c *compiler) upstream(name string) {
	u, path := c.policy.Upstreams[name], join("upstreams", name)
	c.name(path, "upstream", name)
	for i, target := range u.Targets {
		at := index(join(path, "targets"), i)
		if wrong := targetProblem(target); wrong != "" {
			c.invalid(at, "bad target: %s (write http://host:port)", wrong)
		}
		if slices.Contains(u.Targets[:i], target) {
			c.invalid(at, "duplicate target")
		}
	}
	c.positive(join(path, "timeout"), u.Timeout)
	c.positive(join(path, "health.interval"), u.Health.Interval)
	c.positive(join(path, "health.timeout"), u.Health.Timeout)
	if u.Health.Path != "" && (u.Health.Path[0] != '/' || strings.ContainsAny(u.Health.Path, " \t#")) {
		c.invalid(join(path, "health.path"), "bad path %q (must start with /)", clip(u.Health.Path))
	}
}

func (c *compiler) session() {
	s := &c.policy.Session
	name := s.Cookie.Name
	switch prefix := securePrefix(name); {
	case !isToken(name):
		c.invalid("session.cookie.name", "bad cookie name %q", clip(name))
	case prefix != "" && !s.Cookie.Secure && c.sound("session.cookie.secure"):
		c.invalid("session.cookie.name", "browsers refuse a %s cookie with secure: false", prefix)
	}
	if s.Cookie.SameSite == "none" && !s.Cookie.Secure && c.sound("session.cookie.secure") {
		c.invalid("session.cookie.same_site", "browsers refuse same_site: none with secure: false")
	}
	c.positive("session.idle", s.Idle)
	c.positive("session.absolute", s.Absolute)
	c.positive("session.identity.ttl", s.Identity.TTL)
	if s.Identity.TTL.Std() > 60*time.Second {
		c.invalid("session.identity.ttl", "%s is too long: at most 60s", s.Identity.TTL.Std())
	}
	if !isToken(s.Identity.Header) {
		c.invalid("session.identity.header", "bad header name %q", clip(s.Identity.Header))
	}
	if len(s.Offload) > 0 {
		c.invalid("session.offload", "offload is not available in this version")
	}
}

func (c *compiler) cache() {
	p := &c.policy.Cache
	if wrong := redisProblem(p.RedisURL); wrong != "" {
		c.invalid("cache.redis_url", "%s", wrong)
	}
	if p.MaxObject > p.Memory && c.sound("cache.memory") {
		size, _ := p.MaxObject.MarshalText() // never fails
		c.invalid("cache.max_object", "max_object (%s) is larger than cache.memory", size)
	}
}

func (c *compiler) cors() {
	p := &c.policy.CORS
	for i, origin := range p.Origins {
		if wrong := originProblem(origin); wrong != "" {
			c.invalid(c.item("cors.origins", i), "bad origin %q: %s", clip(origin), wrong)
		}
	}
	for i, method := range p.Methods {
		c.method(c.item("cors.methods", i), method)
	}
	for key, list := range map[string]StringList{"cors.headers": p.Headers, "cors.expose": p.Expose} {
		for i, name := range list {
			if !isToken(name) || name == "*" {
				c.invalid(c.item(key, i), "bad header name %q", clip(name))
			}
		}
	}
}

// item names an item of a StringList, which may stand as a single value.
func (c *compiler) item(path string, i int) string {
	if at := index(path, i); c.has(at) {
		return at
	}
	return path
}

func securePrefix(cookie string) string {
	for _, prefix := range []string{"__Host-", "__Secure-"} {
		if len(cookie) >= len(prefix) && strings.EqualFold(cookie[:len(prefix)], prefix) {
			return prefix
		}
	}
	return ""
}

// targetProblem says why an upstream's target is none, without repeating a
// password that may stand in it.
func targetProblem(target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return "not a URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return "its scheme is neither http nor https"
	case u.User != nil:
		return "it holds a user name or password"
	case u.Hostname() == "" || strings.Contains(u.Host, ","):
		return "it names no host"
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(target, "#"):
		return "it has a path or query"
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && !isPort(u.Port()):
		return "bad port"
	}
	return ""
}

// originProblem says why an origin (RFC 6454, 6.2) with at most one * is none.
func originProblem(origin string) string {
	scheme, host, ok := strings.Cut(origin, "://")
	name, port, hasPort := strings.Cut(host, ":")
	switch {
	case origin == "*":
		return "the origins must be named; one * may stand in a host"
	case !ok || scheme != "http" && scheme != "https":
		return "write https://host"
	case strings.Count(name, "*") > 1 || !isHost(strings.Replace(name, "*", "x", 1)) || name != strings.ToLower(name):
		return "bad host (lower case, without path, at most one *)"
	case name == "*":
		return "a * for a whole host"
	case hasPort && !isPort(port):
		return "bad port"
	}
	return ""
}

func isHost(s string) bool {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Zone() == ""
	}
	return s != "" && len(s) <= 253 && !strings.HasPrefix(s, ".") && !strings.Contains(s, "..") &&
		strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

// normalHost gives a host as a View has it.
func normalHost(s string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(s, "[]"), "."))
}
