package redisdb

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// parseURL reads the addresses, credentials and database of a URL in one of the
// forms of Config.URL. Its errors never quote the URL: where a password was not
// percent-encoded, any part may be a piece of it.
func parseURL(raw string) (*redis.UniversalOptions, error) {
	scheme, hosts, u, err := split(raw)
	if err != nil {
		return nil, err
	}
	opts := &redis.UniversalOptions{}
	if u.User != nil {
		opts.Username = u.User.Username()
		opts.Password, _ = u.User.Password()
	}
	if strings.HasPrefix(scheme, "rediss") {
		// Without a ServerName the name of each address is verified.
		opts.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	path, port := strings.Trim(u.Path, "/"), "6379"
	switch scheme {
	case "redis", "rediss":
		if len(hosts) != 1 {
			return nil, errors.New("redis URL: several hosts want redis+sentinel:// or redis+cluster://")
		}
		if path != "" {
			if opts.DB, err = database(path); err != nil {
				return nil, err
			}
		}
	case "redis+sentinel", "rediss+sentinel":
		port = "26379"
		if path == "" || strings.Contains(path, "/") {
			return nil, errors.New("redis URL: a Sentinel URL ends in the name of the service, as in redis+sentinel://h1:26379,h2:26379/mymaster")
		}
		opts.MasterName = path
	case "redis+cluster", "rediss+cluster":
		if path != "" {
			return nil, errors.New("redis URL: a cluster has no databases: leave the path away")
		}
		opts.IsClusterMode = true
	case "unix":
		if path == "" || hosts[0] != "" {
			return nil, errors.New("redis URL: a unix URL has a path and no host, as in unix:///run/redis.sock")
		}
		opts.Addrs = []string{u.Path}
	}
	if opts.Addrs == nil {
		if opts.Addrs, err = addresses(hosts, port); err != nil {
			return nil, err
		}
	}
	return opts, query(opts, u)
}

// split takes a list of hosts out of the URL, which net/url does not know, and
// parses the rest. u has no host.
func split(raw string) (scheme string, hosts []string, u *url.URL, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	switch scheme {
	case "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster":
	default:
		ok = false
	}
	if !ok {
		return "", nil, nil, errors.New("redis URL: it must start with redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	at := strings.LastIndexByte(authority, '@') + 1
	u, err = url.Parse("redis://" + authority[:at] + rest)
	if err != nil || u.Fragment != "" || strings.Contains(rest, "@") {
		return "", nil, nil, errors.New("redis URL: percent-encode special characters in user and password, such as %2F for /, %23 for #, %25 for %")
	}
	return scheme, strings.Split(authority[at:], ","), u, nil
}

// addresses gives hosts their port where they have none.
func addresses(hosts []string, port string) ([]string, error) {
	addrs := make([]string, len(hosts))
	for i, h := range hosts {
		u, err := url.Parse("redis://" + h)
		if err != nil || u.Hostname() == "" || u.Host != h {
			return nil, errors.New("redis URL: a host is missing or malformed; write host:port, or [address]:port for IPv6")
		}
		p := u.Port()
		if p == "" {
			p = port
		}
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, errors.New("redis URL: a port is not between 1 and 65535")
		}
		addrs[i] = net.JoinHostPort(u.Hostname(), p)
	}
	return addrs, nil
}

// query reads the one parameter there is.
func query(opts *redis.UniversalOptions, u *url.URL) error {
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("redis URL: malformed query")
	}
	db, given := params["db"]
	if delete(params, "db"); len(params) > 0 || len(db) > 1 {
		return errors.New("redis URL: the only parameter is db, once")
	}
	if !given {
		return nil
	}
	if opts.IsClusterMode {
		return errors.New("redis URL: a cluster has no databases: leave db away")
	}
	opts.DB, err = database(db[0])
	return err
}

func database(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, errors.New("redis URL: the database is not a number from 0")
	}
	return n, nil
}
