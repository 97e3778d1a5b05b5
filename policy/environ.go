package policy

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// fillFromEnvironment fills the keys that the file leaves out from JewGo's
// variables; Parse says which. A bad value is an error that names its variable.
func fillFromEnvironment(doc *yamlfile.Document, p *Policy, getenv func(string) string) {
	e := &environ{Document: doc, raw: getenv}
	if !doc.Has("redis.url") {
		p.Redis.URL = Secret(e.redisURL())
	}
	if !doc.Has("cache.redis_url") {
		p.Cache.RedisURL = Secret(e.cacheURL())
	}
	if !doc.Has("cache.default_ttl") {
		p.Cache.DefaultTTL = e.cacheTTL()
	}
}

type environ struct {
	*yamlfile.Document
	raw func(string) string
}

// getenv reads a variable without what files and other systems leave around it.
func (e *environ) getenv(name string) string { return strings.TrimSpace(e.raw(name)) }

// get reads a variable and notes that it fills path.
func (e *environ) get(name, path string) string {
	v := e.getenv(name)
	if v != "" {
		e.Fill(path, name)
	}
	return v
}

// redisURL is the URL of the shared Redis, or "". A whole URL comes first, then a cluster,
// Sentinel and a single server.
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
			e.Variable("REDIS_SENTINEL_SERVICE", "needed with REDIS_SENTINEL_HOSTS")
			return ""
		}
		return e.url("redis+sentinel", hostList(v)) + "/" + url.PathEscape(service) + e.database("?db=")
	}
	if host := e.get("REDIS_HOST", "redis.url"); host != "" {
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			host = "[" + host + "]"
		}
		return e.url("redis", host+e.port()) + e.database("/")
	}
	// The gateway's sessions live in the one Redis; the type, as Flask-Session has
	// it, only says whether SESSION_REDIS names it.
	if e.kind("SESSION_TYPE", "unknown type %q (redis, or a type that is not in Redis: null, filesystem)",
		"redis", "null none filesystem cachelib memcached mongodb sqlalchemy") == 0 {
		return e.get("SESSION_REDIS", "redis.url")
	}
	return ""
}

// kind returns the index of the group of words that has a variable's value, ignoring case:
// 0 if it is not set, -1 if it is unknown, which is reported.
func (e *environ) kind(name, unknown string, groups ...string) int {
	v := strings.ToLower(e.getenv(name))
	for i, words := range groups {
		if v == "" || slices.Contains(strings.Fields(words), v) {
			return i
		}
	}
	e.Variable(name, unknown, yamlfile.Clip(v))
	return -1
}

// port returns REDIS_PORT with a colon before it. Kubernetes sets it to an address,
// tcp://10.0.0.5:6379, wherever there is a Service named redis.
func (e *environ) port() string {
	given := e.getenv("REDIS_PORT")
	port, ok := strings.CutPrefix(given, "tcp://")
	if ok {
		port = port[strings.LastIndexByte(port, ':')+1:]
	}
	switch {
	case given == "":
		return ""
	case !isPort(port):
		e.Variable("REDIS_PORT", "bad port %q", yamlfile.Clip(given))
		return ""
	}
	return ":" + port
}

// url builds a URL with REDIS_PASSWORD, and REDIS_SSL as the scheme says it.
func (e *environ) url(scheme, hosts string) string {
	if e.kind("REDIS_SSL", "expected true or false, found %q", "0 false no off", "1 true yes on") == 1 {
		scheme = strings.Replace(scheme, "redis", "rediss", 1)
	}
	if v := strings.TrimRight(e.raw("REDIS_PASSWORD"), "\r\n"); v != "" { // it may end in a space
		return scheme + "://" + url.UserPassword("", v).String() + "@" + hosts
	}
	return scheme + "://" + hosts
}

// database returns REDIS_DB behind a separator; "" for number 0, which is the default.
func (e *environ) database(separator string) string {
	v := e.getenv("REDIS_DB")
	if v == "" || v == "0" {
		return ""
	}
	if n, err := strconv.Atoi(v); err != nil || n < 0 {
		e.Variable("REDIS_DB", "bad database number %q", v)
		return ""
	}
	return separator + v
}

// cacheURL reads CACHE_TYPE and CACHE_REDIS_URL as Flask-Caching has them.
func (e *environ) cacheURL() string {
	if strings.HasSuffix(strings.ToLower(e.getenv("CACHE_TYPE")), "rediscache") {
		return e.get("CACHE_REDIS_URL", "cache.redis_url")
	}
	switch e.kind("CACHE_TYPE", "unknown type %q (redis, or simple or null for none in Redis)",
		"redis", "null nullcache none simple simplecache memory filesystem filesystemcache") {
	case 0:
		return e.get("CACHE_REDIS_URL", "cache.redis_url")
	case 1:
		return "memory://"
	}
	return ""
}

func (e *environ) cacheTTL() Duration {
	v := e.getenv("CACHE_DEFAULT_TIMEOUT")
	if v == "" {
		return 0
	}
	seconds, err := strconv.Atoi(v)
	if err != nil || seconds < 0 || seconds > 10*365*24*3600 {
		e.Variable("CACHE_DEFAULT_TIMEOUT", "expected seconds as a bare number, found %q", yamlfile.Clip(v))
		return 0
	}
	return Duration(time.Duration(seconds) * time.Second)
}

// hostList drops the spaces of a comma-separated list of host:port.
func hostList(v string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(v, ", ", ",")), "")
}
