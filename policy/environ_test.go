package policy

import (
	"fmt"
	"testing"
)

func TestEnvironmentFillsWhatTheFileLeavesOut(t *testing.T) {
	type vars = map[string]string
	for _, c := range []struct {
		what string
		vars vars
		want string // redis.url, cache.redis_url, cache.default_ttl
	}{
		{"nothing set", vars{}, `"" "" 0s`},
		{"a URL", vars{"REDIS_URL": "rediss://:p@h:1/2"}, `"rediss://:p@h:1/2" "" 0s`},
		{"memory alone", vars{"REDIS_URL": "memory://"}, `"memory://" "" 0s`},
		{"a host", vars{"REDIS_HOST": "h"}, `"redis://h" "" 0s`},
		{
			"a host with everything",
			vars{"REDIS_HOST": "h", "REDIS_PORT": "6380", "REDIS_DB": "3", "REDIS_PASSWORD": "p@/:?", "REDIS_SSL": "True"},
			`"rediss://:p%40%2F%3A%3F@h:6380/3" "" 0s`,
		},
		{"a URL before a host", vars{"REDIS_URL": "redis://a", "REDIS_HOST": "b"}, `"redis://a" "" 0s`},
		{
			"sentinels",
			vars{"REDIS_SENTINEL_HOSTS": "a:1, b:2", "REDIS_SENTINEL_SERVICE": "main", "REDIS_DB": "1", "REDIS_PASSWORD": "p"},
			`"redis+sentinel://:p@a:1,b:2/main?db=1" "" 0s`,
		},
		{"the port as Kubernetes sets it beside a Service named redis", vars{"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.5:6380"}, `"redis://h:6380" "" 0s`},
		{"the same with IPv6", vars{"REDIS_HOST": "h", "REDIS_PORT": "tcp://[fd00::5]:6380"}, `"redis://h:6380" "" 0s`},
		{
			"line ends and spaces around",
			vars{"REDIS_HOST": " h\r\n", "REDIS_PORT": "6380\r", "REDIS_DB": "3\r", "REDIS_PASSWORD": "p \r\n", "REDIS_SSL": "true\r", "CACHE_TYPE": "null\r", "CACHE_DEFAULT_TIMEOUT": " 300\n"},
			`"rediss://:p%20@h:6380/3" "memory://" 5m0s`,
		},
		{"line ends around a Sentinel's service", vars{"REDIS_SENTINEL_HOSTS": "a:1\r", "REDIS_SENTINEL_SERVICE": "m\r"}, `"redis+sentinel://a:1/m" "" 0s`},
		{"a type with a line end", vars{"SESSION_TYPE": "redis\r", "SESSION_REDIS": "redis://s\r"}, `"redis://s" "" 0s`},
		{"a variable of line ends alone", vars{"REDIS_PORT": "\r\n", "REDIS_HOST": "h", "REDIS_PASSWORD": "\n"}, `"redis://h" "" 0s`},
		{"an IPv6 host", vars{"REDIS_HOST": "::1", "REDIS_PORT": "1"}, `"redis://[::1]:1" "" 0s`},
		{"a cluster with TLS", vars{"REDIS_CLUSTER_HOSTS": "a", "REDIS_SSL": "1"}, `"rediss+cluster://a" "" 0s`},
		{"a cluster before a host", vars{"REDIS_CLUSTER_HOSTS": "a:1,b:2", "REDIS_HOST": "c"}, `"redis+cluster://a:1,b:2" "" 0s`},
		{"the session's Redis, if there is no other", vars{"SESSION_TYPE": "redis", "SESSION_REDIS": "redis://s"}, `"redis://s" "" 0s`},
		{"the session's Redis after the main one", vars{"SESSION_REDIS": "redis://s", "REDIS_HOST": "h"}, `"redis://h" "" 0s`},
		{"sessions elsewhere", vars{"SESSION_TYPE": "filesystem", "SESSION_REDIS": "redis://s"}, `"" "" 0s`},
		{"a cache of its own", vars{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://c"}, `"" "redis://c" 0s`},
		{"a cache without a type", vars{"CACHE_REDIS_URL": "redis://c"}, `"" "redis://c" 0s`},
		{"a cache that is not in Redis", vars{"CACHE_TYPE": "simple", "CACHE_REDIS_URL": "redis://c", "REDIS_URL": "redis://a"}, `"redis://a" "memory://" 0s`},
		{"no cache at all", vars{"CACHE_TYPE": "null"}, `"" "memory://" 0s`},
		{"bare seconds", vars{"CACHE_DEFAULT_TIMEOUT": "300"}, `"" "" 5m0s`},
	} {
		p := mustParse(t, "version: 1", c.vars).Policy
		got := fmt.Sprintf("%q %q %v", p.Redis.URL.Reveal(), p.Cache.RedisURL.Reveal(), p.Cache.DefaultTTL.Std())
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
}

func TestTheFileComesBeforeTheEnvironment(t *testing.T) {
	vars := map[string]string{
		"REDIS_HOST": "h", "CACHE_TYPE": "null", "CACHE_DEFAULT_TIMEOUT": "300", "SESSION_TYPE": "redis",
	}
	p := mustParse(t, `
version: 1
redis: {url: ""}
cache: {redis_url: "redis://c", default_ttl: 0s}
`, vars).Policy
	if p.Redis.URL != "" || p.Cache.RedisURL != "redis://c" || p.Cache.DefaultTTL != 0 {
		t.Errorf("got %+v %+v", p.Redis, p.Cache)
	}

	p = mustParse(t, "version: 1\nredis: {url: \"${REDIS_URL:-}\"}", vars).Policy
	if p.Redis.URL != "redis://h" {
		t.Errorf("a key whose variable is empty is left out: got %q", p.Redis.URL.Reveal())
	}
}

func TestBadVariablesAreNamed(t *testing.T) {
	type vars = map[string]string
	for _, c := range []struct {
		vars vars
		want string
	}{
		{vars{"REDIS_URL": "http://:hunter2@h"}, "p.yaml: REDIS_URL: bad Redis URL: its scheme is not redis, rediss, unix, redis+sentinel, redis+cluster or memory"},
		{vars{"REDIS_URL": "://hunter2"}, "p.yaml: REDIS_URL: bad Redis URL: its scheme is not redis, rediss, unix, redis+sentinel, redis+cluster or memory"},
		{vars{"REDIS_HOST": "h", "REDIS_PORT": "http"}, `p.yaml: REDIS_PORT: bad port "http"`},
		{vars{"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.5"}, `p.yaml: REDIS_PORT: bad port "tcp://10.0.0.5"`},
		{vars{"REDIS_HOST": "h", "REDIS_PORT": "udp://10.0.0.5:53"}, `p.yaml: REDIS_PORT: bad port "udp://10.0.0.5:53"`},
		{vars{"REDIS_HOST": "h", "REDIS_DB": "-1"}, `p.yaml: REDIS_DB: bad database number "-1"`},
		{vars{"REDIS_HOST": "h", "REDIS_SSL": "maybe"}, `p.yaml: REDIS_SSL: expected true or false, found "maybe"`},
		{vars{"REDIS_HOST": "h h"}, `p.yaml: REDIS_HOST: bad Redis URL: a host is malformed: write host:port, or [address]:port for IPv6`},
		{vars{"REDIS_SENTINEL_HOSTS": "a:1"}, "p.yaml: REDIS_SENTINEL_SERVICE: needed with REDIS_SENTINEL_HOSTS"},
		{vars{"CACHE_TYPE": "memcached"}, `p.yaml: CACHE_TYPE: unknown type "memcached" (redis, or simple or null for none in Redis)`},
		{vars{"CACHE_REDIS_URL": "redis://"}, "p.yaml: CACHE_REDIS_URL: bad Redis URL: it names no host"},
		{vars{"CACHE_DEFAULT_TIMEOUT": "5m"}, `p.yaml: CACHE_DEFAULT_TIMEOUT: expected seconds as a bare number, found "5m"`},
		{vars{"SESSION_TYPE": "cookie"}, `p.yaml: SESSION_TYPE: unknown type "cookie" (redis, or a type that is not in Redis: null, filesystem)`},
		{
			vars{"CACHE_DEFAULT_TIMEOUT": "-1", "REDIS_URL": "x"},
			"p.yaml: CACHE_DEFAULT_TIMEOUT: expected seconds as a bare number, found \"-1\"\n" +
				"p.yaml: REDIS_URL: bad Redis URL: its scheme is not redis, rediss, unix, redis+sentinel, redis+cluster or memory",
		},
	} {
		if got := parseErrors(t, "version: 1", c.vars); got != c.want {
			t.Errorf("%v:\ngot  %s\nwant %s", c.vars, got, c.want)
		}
	}
}
