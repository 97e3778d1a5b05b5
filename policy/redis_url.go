package policy

import (
	"net/url"
	"strconv"
	"strings"
)

// redisProblem says why a Redis URL is none, without repeating any of it: where
// a password was not percent-encoded, any part may be a piece of it. The forms
// are those that internal/redisdb opens, and memory:// for none.
func redisProblem(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if s == "" || ok && scheme == "memory" {
		return ""
	}
	end := strings.IndexAny(rest+"/", "/?#")
	at := strings.LastIndexByte(rest[:end], '@') + 1
	hosts := strings.Split(rest[at:end], ",")
	u, err := url.Parse("redis://" + rest[:at] + rest[end:])
	kind := strings.Replace(scheme, "rediss", "redis", 1)
	switch {
	case !ok || kind != "redis" && kind != "unix" && kind != "redis+sentinel" && kind != "redis+cluster":
		return "bad Redis URL: its scheme is not redis, rediss, unix, redis+sentinel, redis+cluster or memory"
	case err != nil || u.Fragment != "" || strings.Contains(rest[end:], "@"):
		return "bad Redis URL: special characters in its password must be percent-encoded"
	case kind == "unix":
		if u.Path == "" || hosts[0] != "" {
			return "bad Redis URL: unix:// takes a path and no host, as in unix:///run/redis.sock"
		}
		return ""
	}
	for _, h := range hosts {
		if wrong := redisHostProblem(h); wrong != "" {
			return "bad Redis URL: " + wrong
		}
	}
	path := strings.Trim(u.Path, "/")
	switch {
	case kind == "redis" && len(hosts) > 1:
		return "bad Redis URL: several hosts want redis+sentinel:// or redis+cluster://"
	case kind == "redis" && path != "" && !isDatabase(path):
		return "bad Redis URL: its path is not the number of a database"
	case kind == "redis+sentinel" && (path == "" || strings.Contains(path, "/")):
		return "bad Redis URL: it names no service (write redis+sentinel://host:26379,host:26379/service)"
	case kind == "redis+cluster" && path+u.RawQuery != "":
		return "bad Redis URL: a cluster has no databases"
	}
	if db, given := strings.CutPrefix(u.RawQuery, "db="); u.RawQuery != "" && !(given && isDatabase(db)) {
		return "bad Redis URL: its only parameter is db, a number"
	}
	return ""
}

func redisHostProblem(hostport string) string {
	u, err := url.Parse("redis://" + hostport)
	switch {
	case hostport == "":
		return "it names no host"
	case err != nil || u.Host != hostport || !isHost(u.Hostname()):
		return "a host is malformed"
	case strings.HasSuffix(hostport, ":") || u.Port() != "" && !isPort(u.Port()):
		return "bad port"
	}
	return ""
}

func isDatabase(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0
}
