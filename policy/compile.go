package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/redisurl"
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
	if wrong := peersProblem(s); s.Peers != "" && wrong != "" {
		c.invalid("server.peers", "bad address %q: %s", s.Peers, wrong)
	}
	for i, host := range s.Hosts {
		if !isHost(host) {
			c.invalid(index("server.hosts", i), "bad host %q (a name or an address, without scheme and port)", host)
		}
		s.Hosts[i] = NormalHost(host)
	}
	if s.DataDir == "" {
		c.invalid("server.data_dir", "data_dir must not be empty")
	}
	c.positive("server.timeouts.read_header", s.Timeouts.ReadHeader)
	c.positive("server.timeouts.progress", s.Timeouts.Progress)
	c.positive("server.timeouts.idle", s.Timeouts.Idle)
	c.positive("server.timeouts.upload_grace", s.Timeouts.UploadGrace)
	if s.MaxHeader < 1<<10 || s.MaxHeader > 1<<20 {
		c.invalid("server.max_header", "max_header must be from 1KiB to 1MiB")
	}
}

func (c *compiler) redis() {
	r := &c.policy.Redis
	c.redisURL("redis.url", r.URL)
	c.positive("redis.budget", r.Budget)
}

func (c *compiler) redisURL(path, raw string) {
	if redisurl.None(raw) {
		return
	}
	if _, err := redisurl.Parse(raw); err != nil {
		c.invalid(path, "bad Redis URL: %v", err)
	}
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
	c.positive(join(path, "idle"), u.Idle)
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
	c.origins("session.trusted_origins", s.TrustedOrigins)
	c.offload()
}

// offload checks the cookies that stay in the session.
func (c *compiler) offload() {
	s := &c.policy.Session
	for i, name := range s.Offload {
		at := c.item("session.offload", i)
		switch {
		case !isToken(name):
			c.invalid(at, "bad cookie name %q", clip(name))
		case name == s.Cookie.Name:
			c.invalid(at, "%q is the gateway's own cookie", clip(name))
		case slices.Contains(s.Offload[:i], name):
			c.invalid(at, "duplicate cookie %q", clip(name))
		}
	}
	switch {
	case len(s.Offload) == 0 && s.OffloadMigrate:
		c.invalid("session.offload_migrate", "there is nothing to migrate without session.offload")
	case len(s.Offload) == 0:
	case s.Cookie.Secure && !strings.HasPrefix(s.Cookie.Name, "__Host-") && c.sound("session.cookie"):
		c.invalid("session.offload", "the session cookie's name must begin with __Host-: another host of the domain could plant its own, and share what is signed in with it")
	case c.policy.Cache.StoreSetCookie:
		c.invalid("session.offload", "cache.store_set_cookie would replay one user's cookies into other sessions")
	}
}

func (c *compiler) cache() {
	p := &c.policy.Cache
	c.redisURL("cache.redis_url", p.RedisURL)
	if p.Memory > 0 && p.MaxObject > p.Memory && c.sound("cache.memory") {
		size, _ := p.MaxObject.MarshalText() // never fails
		c.invalid("cache.max_object", "max_object (%s) is larger than cache.memory", size)
	}
}

func (c *compiler) cors() {
	p := &c.policy.CORS
	c.origins("cors.origins", p.Origins)
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

func (c *compiler) origins(path string, origins StringList) {
	for i, origin := range origins {
		if wrong := originProblem(origin); wrong != "" {
			c.invalid(c.item(path, i), "bad origin %q: %s", clip(origin), wrong)
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
