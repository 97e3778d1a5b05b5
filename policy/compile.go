package policy

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/redisurl"
	"github.com/jewgo/gateway/policy/yamlfile"
)

// compile checks the policy as a whole and fills s with what requests need. Mistakes are
// added to the document.
func compile(doc *yamlfile.Document, s *Snapshot) {
	c := &compiler{Document: doc, policy: s.Policy}
	c.server()
	s.Headers, s.HSTS = c.headers(), hsts(s.Policy.Server.TLS)
	c.redisURL("redis.url", s.Policy.Redis.URL)
	for _, name := range keys(s.Policy.Upstreams) {
		c.upstream(name)
	}
	s.Limits = c.limits()
	c.session()
	c.cache()
	s.Log = c.log()
	s.Routes = c.routes(s)
	s.table = newTable(s.Routes)
	c.warm(s)
}

type compiler struct {
	*yamlfile.Document
	policy *Policy
}

// name checks a name that appears in logs, metrics and headers.
func (c *compiler) name(path, kind, name string) {
	const most = 64
	if bad := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"); bad != "" || name == "" || len(name) > most {
		c.Invalid(path, "bad %s name %q (letters, digits, - and _, at most %d)", kind, yamlfile.Clip(name), most)
	}
}

func (c *compiler) server() {
	s := &c.policy.Server
	if wrong := peersProblem(s); s.Peers != "" && wrong != "" {
		c.Invalid("server.peers", "bad address %q: %s", s.Peers, wrong)
	}
	for i, host := range s.Hosts {
		s.Hosts[i] = NormalHost(host)
	}
	c.addresses()
	c.tls()
	c.InvalidIf(s.MaxHeader < 1<<10 || s.MaxHeader > 1<<20, "server.max_header", "max_header must be from 1KiB to 1MiB")
	c.InvalidIf(s.MaxTarget < 256 || s.MaxTarget > 64<<10, "server.max_target", "max_target must be from 256 bytes to 64KiB")
	c.InvalidIf(c.Has("server.trace.sampled") && !s.Trace.Make && c.Sound("server.trace.make"), "server.trace.sampled", "sampled has no effect without make: true")
	c.InvalidIf(s.MaxField < 256 || s.MaxField > 1<<20, "server.max_field", "max_field must be from 256 bytes to 1MiB")
}

// headers checks what is set on every response.
func (c *compiler) headers() http.Header {
	headers := http.Header{}
	for _, name := range keys(c.policy.Server.Headers) {
		path, value := "server.headers."+name, c.policy.Server.Headers[name]
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		_, twice := headers[canonical]
		c.InvalidIf(twice, path, "duplicate header %s", canonical)
		c.InvalidIf(!isToken(name), path, "bad header name %q", yamlfile.Clip(name))
		c.InvalidIf(canonical == "Strict-Transport-Security", path, "write server.tls.hsts")
		c.InvalidIf(perResponse[canonical] || strings.HasPrefix(canonical, "Access-Control-") || strings.HasPrefix(canonical, "X-Gw-"),
			path, "%s is not the same for every response", yamlfile.Clip(name))
		c.InvalidIf(value == "" || strings.Trim(value, " \t") != value || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }),
			path, "bad value %q: printable ASCII, and no space around it", yamlfile.Clip(value))
		headers[canonical] = []string{value}
	}
	return headers
}

// perResponse are fields that are about one response or one connection.
var perResponse = set([]string{
	"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authenticate", "Proxy-Connection", "Content-Length",
	"Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Content-Range", "Content-Disposition", "Accept-Ranges",
	"Age", "Cache-Control", "Cdn-Cache-Control", "Surrogate-Control", "Cache-Status", "Date", "Etag", "Expires", "Last-Modified", "Vary", "Location",
	"Ratelimit", "Ratelimit-Policy", "Retry-After", "Server-Timing", "Set-Cookie", "Via", "Www-Authenticate", "X-Request-Id",
})

// hsts is the field of a policy's HSTS, if it has any.
func hsts(t *TLS) http.Header {
	if t == nil || t.HSTS.MaxAge <= 0 {
		return nil
	}
	value := "max-age=" + strconv.FormatInt(int64(t.HSTS.MaxAge.Std()/time.Second), 10)
	if t.HSTS.Subdomains {
		value += "; includeSubDomains"
	}
	return http.Header{"Strict-Transport-Security": {value}}
}

// addresses finds addresses that are named twice.
func (c *compiler) addresses() {
	s := &c.policy.Server
	for i, address := range s.Listen {
		twice := slices.Contains(s.Listen[:i], address) || address == s.Admin
		c.InvalidIf(twice && !strings.HasSuffix(address, ":0"), c.Item("server.listen", i), "duplicate address %q", address)
	}
}

func (c *compiler) tls() {
	s := &c.policy.Server
	t := s.TLS
	if t == nil {
		return
	}
	c.InvalidIf(len(t.Certificates) == 0 && t.ACME == nil && c.Sound("server.tls"), "server.tls", "HTTPS needs certificates or acme")
	c.InvalidIf(t.HSTS.MaxAge > 0 && t.HSTS.MaxAge.Std() < time.Second, "server.tls.hsts.max_age", "max_age must be at least 1s")
	c.InvalidIf(t.Redirect == "" && t.RedirectPort != 0, "server.tls.redirect_port", "there is no redirect")
	if t.ACME != nil {
		unixOnly := !slices.ContainsFunc(append(slices.Clone(s.Listen), t.Redirect), func(a string) bool { return a != "" && !strings.HasPrefix(a, "unix:") })
		c.InvalidIf(unixOnly, "server.tls.acme", "an ACME server can validate nothing over unix sockets alone")
		for i, host := range t.ACME.Hosts {
			host = NormalHost(host)
			c.InvalidIf(slices.Contains(t.ACME.Hosts[:i], host), c.Item("server.tls.acme.hosts", i), "duplicate host %q", host)
			c.InvalidIf(len(s.Hosts) > 0 && !slices.Contains(s.Hosts, host) && nameProblem(host) == "", c.Item("server.tls.acme.hosts", i), "%q is not in server.hosts", host)
			t.ACME.Hosts[i] = host
		}
	}
	c.InvalidIf(s.H2C, "server.h2c", "h2c is HTTP/2 without TLS; with tls HTTP/2 is on by itself")
	c.InvalidIf(t.Redirect != "" && (slices.Contains(s.Listen, t.Redirect) || t.Redirect == s.Admin), "server.tls.redirect", "listen or admin has this address")
	c.InvalidIf(t.HSTS.Subdomains && t.HSTS.MaxAge == 0, "server.tls.hsts.subdomains", "it says nothing without max_age")
}

// redisURL checks a URL of Redis, which the environment may have filled.
func (c *compiler) redisURL(path string, raw Secret) {
	if _, err := redisurl.Parse(raw.Reveal()); err != nil && !redisurl.None(raw.Reveal()) {
		c.Invalid(path, "bad Redis URL: %v", err)
	}
}

func (c *compiler) upstream(name string) {
	u, path := c.policy.Upstreams[name], "upstreams."+name
	c.name(path, "upstream", name)
	if !c.Has(path + ".concurrency.min") {
		u.Concurrency.Min = min(u.Concurrency.Min, u.Concurrency.Max)
		c.policy.Upstreams[name] = u
	}
	c.InvalidIf(u.Concurrency.Min > u.Concurrency.Max, path+".concurrency.min", "min is more than max, %d", u.Concurrency.Max)
	for i, target := range u.Targets {
		c.InvalidIf(slices.Contains(u.Targets[:i], target), c.Item(path+".targets", i), "duplicate target")
		h2c := func(target string) bool { return strings.HasPrefix(target, "h2c:") }
		c.InvalidIf(h2c(target) != h2c(u.Targets[0]), c.Item(path+".targets", i), "either all targets of an upstream are h2c, or none")
	}
}

func (c *compiler) session() {
	s := &c.policy.Session
	insecure := !s.Cookie.Secure && c.Sound("session.cookie.secure")
	switch prefix := securePrefix(s.Cookie.Name); {
	case !isToken(s.Cookie.Name):
		c.Invalid("session.cookie.name", "bad cookie name %q", yamlfile.Clip(s.Cookie.Name))
	case prefix != "" && insecure:
		c.Invalid("session.cookie.name", "browsers refuse a %s cookie with secure: false", prefix)
	}
	c.InvalidIf(s.Cookie.SameSite == "none" && insecure, "session.cookie.same_site", "browsers refuse same_site: none with secure: false")
	c.InvalidIf(s.Identity.TTL.Std() > 60*time.Second, "session.identity.ttl", "%s is too long: at most 60s", s.Identity.TTL.Std())
	c.InvalidIf(!isToken(s.Identity.Header), "session.identity.header", "bad header name %q", yamlfile.Clip(s.Identity.Header))
	c.offload()
}

// offload checks the cookies that stay in the session.
func (c *compiler) offload() {
	s := &c.policy.Session
	for i, name := range s.Offload {
		at := c.Item("session.offload", i)
		switch {
		case !isToken(name):
			c.Invalid(at, "bad cookie name %q", yamlfile.Clip(name))
		case name == s.Cookie.Name:
			c.Invalid(at, "%q is the gateway's own cookie", yamlfile.Clip(name))
		case slices.Contains(s.Offload[:i], name):
			c.Invalid(at, "duplicate cookie %q", yamlfile.Clip(name))
		}
	}
	switch {
	case len(s.Offload) == 0 && s.OffloadMigrate:
		c.Invalid("session.offload_migrate", "there is nothing to migrate without session.offload")
	case len(s.Offload) == 0:
	case s.Cookie.Secure && !strings.HasPrefix(s.Cookie.Name, "__Host-") && c.Sound("session.cookie"):
		c.Invalid("session.offload", "the session cookie's name must begin with __Host-; without it another host of the domain could plant a cookie of its own, and share the victim's login")
	case c.policy.Cache.StoreSetCookie:
		c.Invalid("session.offload", "cache.store_set_cookie would replay one user's cookies into other sessions")
	}
}

func (c *compiler) cache() {
	p := &c.policy.Cache
	c.redisURL("cache.redis_url", p.RedisURL)
	if p.Memory > 0 && p.MaxObject > p.Memory && c.Sound("cache.memory") {
		size, _ := p.MaxObject.MarshalText() // never fails
		c.Invalid("cache.max_object", "max_object (%s) is larger than cache.memory", size)
	}
}

func securePrefix(cookie string) string {
	for _, prefix := range []string{"__Host-", "__Secure-"} {
		if len(cookie) >= len(prefix) && strings.EqualFold(cookie[:len(prefix)], prefix) {
			return prefix
		}
	}
	return ""
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

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
	c.InvalidIf(rule.Strict && d.TTL > 0, path+".ttl", "mode: strict leaves the lifetime to the origin")
	for _, name := range canonical(d.Vary) {
		if name != "Accept-Encoding" || rule.Strict { // one response is stored for all codings
			rule.Vary = append(rule.Vary, name)
		}
	}
	rule.Pass = canonical(d.Pass)
	for i, name := range rule.Pass {
		switch {
		case name == "Cookie":
			c.Invalid(c.Item(path+".pass", i), "cookies go upstream where they are in the key: write key: [\"cookie:NAME\"]")
		case StaysBehind(name):
			c.Invalid(c.Item(path+".pass", i), "%s never goes upstream from a client", yamlfile.Clip(name))
		}
	}
	switch {
	case rule.Strict && len(d.Pass) > 0:
		c.Invalid(path+".pass", "mode: strict sends all fields upstream")
	case !rule.Strict && len(c.policy.CORS.Origins) == 0 && !slices.Contains(rule.Vary, "Origin"):
		rule.Vary = append(rule.Vary, "Origin") // upstreams that answer it seldom say so in Vary
	}
	c.InvalidIf(rule.Strict && rule.Encode && c.Has(path+".encode"), path+".encode", "mode: strict leaves the content codings to the origin")
	rule.Encode = rule.Encode && !rule.Strict
	c.InvalidIf(len(r.Methods) > 0 && !slices.Contains(r.Methods, "GET") && !slices.Contains(r.Methods, "HEAD"), path, "the route takes neither GET nor HEAD, and nothing else is cached")
	return rule
}

// canonical gives a list of names of request fields in canonical form.
func canonical(list []string) (names []string) {
	for _, name := range list {
		names = append(names, textproto.CanonicalMIMEHeaderKey(name))
	}
	return names
}

// lifetimes compiles the lifetimes by status. A class stands for those of its statuses
// that may be stored and have no lifetime of their own.
func (c *compiler) lifetimes(path string, d *CacheDef) map[int]time.Duration {
	c.InvalidIf(d.Mode == "strict" && len(d.Statuses) > 0, path, "mode: strict leaves the lifetime to the origin")
	single, all := map[int]time.Duration{}, map[int]time.Duration{}
	for _, text := range keys(d.Statuses) {
		at, ttl := path+"."+text, d.Statuses[text].Std()
		var s Status
		switch err := s.UnmarshalText([]byte(text)); {
		case !c.Has(at): // the environment leaves it empty
		case err != nil:
			c.Invalid(at, "%v", err)
		case s < 10:
			for status := range s.all() {
				if !NeverStored(status) {
					all[status] = ttl
				}
			}
		case s == http.StatusPartialContent || NeverStored(int(s)):
			c.Invalid(at, "%d is never stored by a policy: it is about one request or client", int(s))
		default:
			single[int(s)] = ttl
		}
	}
	maps.Copy(all, single)
	return all
}

// NeverStored lists the statuses that are not stored in managed mode, whatever the policy
// says. Some depend on parts of the request that are not in the key, such as a condition, a
// range or a malformed head; stored, they would answer all other requests. Some are about
// one client, and some must not be stored by any cache (RFC 6585). A part (206) is treated
// like its whole.
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
	case r.Session == SessionRequired && !r.Cache.Private() && c.Sound(path+".key"):
		c.Invalid(path, "session: required is cached only with key: [session], or one user would see another's response")
	case r.Session == SessionOff && r.Cache.Private():
		c.Invalid(path+".key", "session here needs session: optional or required on the route")
	case r.Session == SessionOff && usesSession(r.Cache.Bypass):
		c.Invalid(path+".bypass", "session here needs session: optional or required on the route")
	}
}

// cacheOffload refuses offloaded cookies in keys: requests that fill the shared cache are
// sent without them, so the response would not be the user's.
func (c *compiler) cacheOffload(path string, d *CacheDef) {
	offload := c.policy.Session.Offload
	for _, name := range offload {
		if i := slices.Index(d.Key, "cookie:"+name); i >= 0 {
			c.Invalid(c.Item(path+".key", i), "cookie %q stays in the session (session.offload): write session", yamlfile.Clip(name))
		}
	}
	vary := func(name string) bool { return strings.EqualFold(name, "Cookie") }
	if i := slices.IndexFunc(d.Vary, vary); i >= 0 && len(offload) > 0 {
		c.Invalid(c.Item(path+".vary", i), "cookies stay in the session (session.offload): write key: [session]")
	}
}

// queryRule compiles which parameters count.
func (c *compiler) queryRule(path string, d *CacheDef) QueryRule {
	q := &d.Query
	rule := QueryRule{InOrder: !q.Sort, Allow: set(q.Allow), Deny: set(q.Deny), Round: q.Round, TTL: map[string]time.Duration{}}
	c.InvalidIf(len(q.Allow) > 0 && len(q.Deny) > 0, path+".deny", "a query has allow or deny, not both")
	if c.Has(path+".allow") && len(q.Allow) == 0 {
		rule.Allow = map[string]bool{} // nothing is allowed
	}
	sent := func(at, name string) {
		if rule.Allow != nil && !rule.Allow[name] || rule.Deny[name] {
			c.Invalid(at, "parameter %q is not allowed, so it never counts%s", yamlfile.Clip(name), yamlfile.Suggest(name, q.Allow))
		}
	}
	for _, name := range keys(q.Round) {
		at := path + ".round." + name
		sent(at, name)
		if n := q.Round[name]; n < 0 || n > maxDecimals {
			c.Invalid(at, "bad number of decimals %d: from 0 to %d", n, maxDecimals)
		}
	}
	for _, name := range keys(q.TTL) {
		at := path + ".ttl." + name
		sent(at, name)
		if ttl := q.TTL[name]; ttl <= 0 || ttl >= d.TTL {
			c.Invalid(at, "a parameter's ttl must be more than 0s and less than the cache's ttl")
		}
		rule.TTL[name] = q.TTL[name].Std()
	}
	return rule
}

// set returns a list as a set; nil for an empty one.
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
