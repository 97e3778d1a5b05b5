package policy

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// vocabulary is what other gateways call the keys of this policy. What cannot be
// written here is answered in words, which have a space.
var vocabulary = map[string]string{
	"access_log": "log.access", "log_format": "log.format",
	"address": "server.listen", "bind": "server.listen", "port": "server.listen", "listener": "server.listen",
	"average": "limits.NAME.rate", "requests": "limits.NAME.rate", "requests_per_second": "limits.NAME.rate", "requests_per_minute": "limits.NAME.rate", "rps": "limits.NAME.rate",
	"backend": "routes[].upstream", "cluster": "routes[].upstream", "service": "routes[].upstream", "proxy_pass": "routes[].upstream", "to": "routes[].upstream",
	"backends": "upstreams", "clusters": "upstreams", "services": "upstreams",
	"body_limit": "server.max_body", "client_max_body_size": "server.max_body", "max_body_size": "server.max_body", "max_request_size": "server.max_body",
	"cookie_name": "session.cookie.name", "cookie_secure": "session.cookie.secure", "cookie_same_site": "session.cookie.same_site", "samesite": "session.cookie.same_site",
	"domain":    "session cookies belong to one host here, and have no domain",
	"endpoints": "upstreams.NAME.targets", "hostname": "routes[].match.host", "server_name": "server.hosts", "servers": "upstreams.NAME.targets", "url": "upstreams.NAME.targets", "urls": "upstreams.NAME.targets",
	"grace_period": "server.timeouts.drain", "shutdown_timeout": "server.timeouts.drain", "idle_timeout": "server.timeouts.idle", "keepalive_timeout": "server.timeouts.idle", "read_header_timeout": "server.timeouts.read_header",
	"read_timeout": "server.timeouts.progress", "write_timeout": "server.timeouts.progress",
	"health_check": "upstreams.NAME.health", "healthcheck": "upstreams.NAME.health",
	"lb_policy": "upstreams.NAME.balance", "load_balancing": "upstreams.NAME.balance", "strategy": "upstreams.NAME.balance",
	"location": "routes[].match.path", "path_prefix": "routes[].match.path", "prefix": "routes[].match.path", "uri": "routes[].match.path", "method": "routes[].match.methods", "verbs": "routes[].match.methods",
	"max_age": "routes[].cache.ttl", "expire": "routes[].cache.ttl", "max_size": "cache.memory",
	"rate_limit": "routes[].limits", "rate_limits": "routes[].limits", "ratelimits": "limits",
	"redis_url": "redis.url", "addr": "redis.url", "database": "redis.url", "db": "redis.url", "password": "redis.url", "username": "redis.url",
	"secret": "session.keys_file", "secret_key": "session.keys_file", "signing_key": "session.keys_file",
	"ssl": "HTTPS is ended by a proxy in front; TLS to Redis is rediss:// in redis.url", "tls": "HTTPS is ended by a proxy in front; TLS to Redis is rediss:// in redis.url",
	"tls_cert": "HTTPS is ended by a proxy in front; of redis.url tls_cert is a parameter", "tls_key": "HTTPS is ended by a proxy in front; of redis.url tls_key is a parameter", "tls_ca": "HTTPS is ended by a proxy in front; of redis.url tls_ca is a parameter",
	"strip_prefix": "paths go upstream as they are matched", "rewrite": "paths go upstream as they are matched",
	"trust_proxy": "server.trusted_proxies", "trusted_ips": "server.trusted_proxies", "set_real_ip_from": "server.trusted_proxies",
	"websocket": "routes[].upgrade", "websockets": "routes[].upgrade",
}

// below caches what keysBelow gives, by type.
var below sync.Map

// keysBelow are the keys of a struct of the surface and of those below, by name:
// where each stands, the nearest first.
func keysBelow(t reflect.Type) map[string][]string {
	if known, ok := below.Load(t); ok {
		return known.(map[string][]string)
	}
	all := map[string][]string{}
	collect(all, t, "")
	for _, places := range all {
		slices.SortFunc(places, func(a, b string) int {
			return cmp.Or(strings.Count(a, ".")-strings.Count(b, "."), strings.Compare(a, b))
		})
	}
	below.Store(t, all)
	return all
}

// collect adds the keys of a struct of the surface, and of those below.
func collect(all map[string][]string, t reflect.Type, path string) {
	for name, f := range fieldsOf(t) {
		at, below := join(path, name), t.Field(f.index).Type
		all[name] = append(all[name], at)
		for below.Kind() == reflect.Pointer || below.Kind() == reflect.Slice || below.Kind() == reflect.Map {
			switch below.Kind() {
			case reflect.Slice:
				at += "[]"
			case reflect.Map:
				at += ".NAME"
			}
			below = below.Elem()
		}
		if below.Kind() == reflect.Struct && !readsItself(below) {
			collect(all, below, at)
		}
	}
}

// rightPlace gives ` (did you mean path?)` for a key that stands below the struct
// it was written in, that other gateways have, or that stands elsewhere in one
// place; else "".
func rightPlace(name string, in reflect.Type) string {
	if here := keysBelow(in)[name]; len(here) > 0 {
		return fmt.Sprintf(" (did you mean %s?)", here[0])
	}
	if other, ok := vocabulary[strings.ToLower(name)]; ok {
		if strings.Contains(other, " ") {
			return " (" + other + ")"
		}
		return fmt.Sprintf(" (did you mean %s?)", other)
	}
	if elsewhere := keysBelow(reflect.TypeFor[Policy]())[name]; len(elsewhere) == 1 {
		return fmt.Sprintf(" (did you mean %s?)", elsewhere[0])
	}
	return ""
}
