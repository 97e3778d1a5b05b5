package policy

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fillFromEnvironment fills the keys that the file leaves out from JewGo's
// variables; Parse says which. A bad value is an error that names its variable.
func fillFromEnvironment(doc *document, p *Policy, getenv func(string) string) {
	e := &environ{document: doc, raw: getenv}
	if !doc.has("redis.url") {
		p.Redis.URL = e.redisURL()
	}
	if !doc.has("cache.redis_url") {
		p.Cache.RedisURL = e.cacheURL()
	}
	if !doc.has("cache.default_ttl") {
		p.Cache.DefaultTTL = e.cacheTTL()
	}
}

type environ struct {
	*document
	raw func(string) string
}

// getenv reads a variable without what files and other systems leave around it.
func (e *environ) getenv(name string) string { return strings.TrimSpace(e.raw(name)) }

// get reads a variable and notes that path is filled from it.
func (e *environ) get(name, path string) string {
	v := e.getenv(name)
	if v != "" {
		e.origin[path] = name
	}
	return v
}

func (e *environ) wrong(name, format string, args ...any) {
	e.report(Position{File: e.file}, name+": "+format, args...)
}

// redisURL is the URL of the one Redis, or "". A whole URL comes first, then the
// kind of installation that names the most.
func (e *environ) redisURL() string {
	if v := e.get("REDIS_URL", "redis.url"); v != "" {
		return v
	}
	if v := e.get("REDIS_CLUSTER_HOSTS", "redis.url"); v != "" {
		return e.url("redis+cluster", hostList(v))
	}
	if v := e.get("REDIS_SENTINEL_HOSTS", "redis.url"); v != "" {
		service := e.getenv("REDIS_SENTINEL_SERVICE")
		if service == "" {
			e.wrong("REDIS_SENTINEL_SERVICE", "needed with REDIS_SENTINEL_HOSTS")
			return ""
		}
		u := e.url("redis+sentinel", hostList(v)) + "/" + url.PathEscape(service)
		if db := e.database(); db != "" {
			u += "?db=" + db
		}
		return u
	}
	if host := e.get("REDIS_HOST", "redis.url"); host != "" {
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			host = "[" + host + "]"
		}
		u := e.url("redis", host+e.port())
		if db := e.database(); db != "" {
			u += "/" + db
		}
		return u
	}
	if e.sessionsInRedis() {
		return e.get("SESSION_REDIS", "redis.url")
	}
	return ""
}

// port gives REDIS_PORT with a colon before it. Kubernetes sets it to an address,
// tcp://10.0.0.5:6379, wherever there is a Service named redis.
func (e *environ) port() string {
	given := e.getenv("REDIS_PORT")
	if given == "" {
		return ""
	}
	port := given
	if address, ok := strings.CutPrefix(given, "tcp://"); ok {
		port = address[strings.LastIndexByte(address, ':')+1:]
	}
	if !isPort(port) {
		e.wrong("REDIS_PORT", "bad port %q", clip(given))
		return ""
	}
	return ":" + port
}

// url builds a URL with REDIS_PASSWORD, and REDIS_SSL as the scheme says it.
func (e *environ) url(scheme, hosts string) string {
	if e.tls() {
		scheme = strings.Replace(scheme, "redis", "rediss", 1)
	}
	if v := strings.TrimRight(e.raw("REDIS_PASSWORD"), "\r\n"); v != "" { // it may end in a space
		return scheme + "://" + url.UserPassword("", v).String() + "@" + hosts
	}
	return scheme + "://" + hosts
}

// database gives REDIS_DB, "" for number 0, which is the default.
func (e *environ) database() string {
	v := e.getenv("REDIS_DB")
	if v == "" || v == "0" {
		return ""
	}
	if n, err := strconv.Atoi(v); err != nil || n < 0 {
		e.wrong("REDIS_DB", "bad database number %q", v)
		return ""
	}
	return v
}

func (e *environ) tls() bool {
	v := strings.ToLower(e.getenv("REDIS_SSL"))
	switch {
	case slices.Contains([]string{"1", "true", "yes", "on"}, v):
		return true
	case !slices.Contains([]string{"", "0", "false", "no", "off"}, v):
		e.wrong("REDIS_SSL", "expected true or false, found %q", clip(v))
	}
	return false
}

// sessionsInRedis reads SESSION_TYPE, a type of Flask-Session. The gateway's
// sessions live in the one Redis; the variable only says whether SESSION_REDIS
// names it.
func (e *environ) sessionsInRedis() bool {
	v := strings.ToLower(e.getenv("SESSION_TYPE"))
	switch {
	case v == "" || v == "redis":
		return true
	case !slices.Contains([]string{"null", "none", "filesystem", "cachelib", "memcached", "mongodb", "sqlalchemy"}, v):
		e.wrong("SESSION_TYPE", "unknown type %q (redis, or a type that is not in Redis: null, filesystem)", clip(v))
	}
	return false
}

// cacheURL reads CACHE_TYPE and CACHE_REDIS_URL as Flask-Caching has them.
func (e *environ) cacheURL() string {
	v := strings.ToLower(e.getenv("CACHE_TYPE"))
	switch {
	case v == "" || v == "redis" || strings.HasSuffix(v, "rediscache"):
		return e.get("CACHE_REDIS_URL", "cache.redis_url")
	case slices.Contains([]string{"null", "nullcache", "none", "simple", "simplecache", "memory", "filesystem", "filesystemcache"}, v):
		return "memory://"
	}
	e.wrong("CACHE_TYPE", "unknown type %q (redis, or simple or null for none in Redis)", clip(v))
	return ""
}

func (e *environ) cacheTTL() Duration {
	v := e.getenv("CACHE_DEFAULT_TIMEOUT")
	if v == "" {
		return 0
	}
	seconds, err := strconv.Atoi(v)
	if err != nil || seconds < 0 || seconds > 10*365*24*3600 {
		e.wrong("CACHE_DEFAULT_TIMEOUT", "expected seconds as a bare number, found %q", clip(v))
		return 0
	}
	return Duration(time.Duration(seconds) * time.Second)
}

// hostList drops the spaces of a comma-separated list of host:port.
func hostList(v string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(v, ", ", ",")), "")
}
