// Package redisurl parses the URL of a Redis. The policy's checks and the connection use the same
// parser. It knows the syntax and no client; internal/store/redis uses the parts.
package redisurl

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// None reports whether raw means no Redis: it is empty, or memory://.
func None(raw string) bool { return raw == "" || strings.HasPrefix(raw, "memory://") }

// URL holds the parts of a Redis URL.
type URL struct {
	Addrs          []string // host:port with the port filled in, or the path of a unix socket
	User, Password string
	DB             int
	Cluster        bool

	Service                        string // of a Sentinel; "": none
	SentinelUser, SentinelPassword string // of the Sentinels themselves

	TLS        bool
	CA         string // file of the trusted roots; "": the system's
	Cert, Key  string // files of the client's certificate; "": none
	ServerName string // expected in the servers' certificates; "": the host of each address
}

// Parse reads a URL in one of the forms
//
//	redis://[user:password@]host[:port][/db][?db=N]      rediss:// with TLS
//	unix://[user:password@]/path/to/socket[?db=N]
//	redis+sentinel://[user:password@]h1:p1,h2:p2/service[?db=N]
//	redis+cluster://[user:password@]h1:p1,h2:p2
//
// and rediss+sentinel://, rediss+cluster:// with TLS, to the Sentinels too. User and password are
// percent-encoded; in a Sentinel URL they are those of the servers behind it. Further parameters
// are
//
//	tls_ca=FILE               roots to trust instead of the system's
//	tls_cert=FILE&tls_key=FILE  the client's certificate, where servers ask for one
//	tls_server_name=NAME      the name in the servers' certificates, if not the host
//	sentinel_user=, sentinel_password=
//
// with files in PEM, by absolute paths. Certificates are always verified.
//
// Errors never quote the URL: if a password was not percent-encoded, any part may be a piece of it.
func Parse(raw string) (URL, error) {
	kind, hosts, u, err := split(raw)
	if err != nil {
		return URL{}, err
	}
	r := URL{TLS: strings.HasPrefix(raw, "rediss")}
	if u.User != nil {
		r.User = u.User.Username()
		r.Password, _ = u.User.Password()
	}
	path, port := strings.Trim(u.Path, "/"), "6379"
	switch kind {
	case "redis":
		if len(hosts) != 1 {
			return URL{}, errors.New("several hosts need redis+sentinel:// or redis+cluster://")
		}
		if path != "" {
			if r.DB, err = database(path); err != nil {
				return URL{}, err
			}
		}
	case "redis+sentinel":
		port = "26379"
		if path == "" || strings.Contains(path, "/") {
			return URL{}, errors.New("it names no service: write redis+sentinel://h1:26379,h2:26379/service")
		}
		r.Service = path
	case "redis+cluster":
		if path != "" {
			return URL{}, errNoDatabases
		}
		r.Cluster = true
	case "unix":
		if path == "" || hosts[0] != "" {
			return URL{}, errors.New("unix:// takes a path and no host, as in unix:///run/redis.sock")
		}
		r.Addrs = []string{u.Path}
	}
	if r.Addrs == nil {
		if r.Addrs, err = addresses(hosts, port); err != nil {
			return URL{}, err
		}
	}
	if err := r.query(u.RawQuery); err != nil {
		return URL{}, err
	}
	return r, nil
}

var errNoDatabases = errors.New("a cluster has no databases")

// split takes the list of hosts, which net/url does not support, out of the URL and parses the
// rest. kind is the scheme without TLS; u has no host.
func split(raw string) (kind string, hosts []string, u *url.URL, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	switch kind = strings.Replace(scheme, "rediss", "redis", 1); kind {
	case "redis", "unix", "redis+sentinel", "redis+cluster":
	default:
		ok = false
	}
	if !ok {
		return "", nil, nil, errors.New("its scheme is not redis, rediss, unix, redis+sentinel, redis+cluster or memory")
	}
	end := strings.IndexAny(rest+"/", "/?#")
	authority, rest := rest[:end], rest[end:]
	at := strings.LastIndexByte(authority, '@') + 1
	u, err = url.Parse("redis://" + authority[:at] + rest)
	if err != nil || u.Fragment != "" || strings.Contains(rest, "@") {
		return "", nil, nil, errors.New("special characters in its user and password must be percent-encoded, such as %2F for /, %23 for #, %25 for %")
	}
	return kind, strings.Split(authority[at:], ","), u, nil
}

// addresses adds the port to hosts without one.
func addresses(hosts []string, port string) ([]string, error) {
	addrs := make([]string, len(hosts))
	for i, h := range hosts {
		u, err := url.Parse("redis://" + h)
		switch {
		case h == "":
			return nil, errors.New("it names no host")
		case err != nil || u.Hostname() == "" || u.Host != h || strings.HasSuffix(h, ":"):
			return nil, errors.New("a host is malformed: write host:port, or [address]:port for IPv6")
		}
		p := u.Port()
		if p == "" {
			p = port
		}
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, errors.New("a port is not between 1 and 65535")
		}
		addrs[i] = net.JoinHostPort(u.Hostname(), p)
	}
	return addrs, nil
}

// query reads the parameters.
func (r *URL) query(raw string) error {
	params, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("its query is malformed")
	}
	var db string
	known := map[string]*string{
		"db": &db, "tls_ca": &r.CA, "tls_cert": &r.Cert, "tls_key": &r.Key, "tls_server_name": &r.ServerName,
		"sentinel_user": &r.SentinelUser, "sentinel_password": &r.SentinelPassword,
	}
	for name, values := range params {
		value := known[name]
		if value == nil || len(values) != 1 || values[0] == "" {
			return errors.New("its parameters may be db, tls_ca, tls_cert, tls_key, tls_server_name, sentinel_user and sentinel_password, each once and not empty")
		}
		*value = values[0]
	}
	if err := r.checkTLS(); err != nil {
		return err
	}
	switch {
	case r.Service == "" && (r.SentinelUser != "" || r.SentinelPassword != ""):
		return errors.New("sentinel_user and sentinel_password belong to redis+sentinel://")
	case r.SentinelUser != "" && r.SentinelPassword == "":
		return errors.New("sentinel_user needs a sentinel_password")
	case db == "":
		return nil
	case r.Cluster:
		return errNoDatabases
	}
	r.DB, err = database(db)
	return err
}

func (r *URL) checkTLS() error {
	if !r.TLS && (r.CA != "" || r.Cert != "" || r.Key != "" || r.ServerName != "") {
		return errors.New("tls_ parameters need rediss://, rediss+sentinel:// or rediss+cluster://")
	}
	if (r.Cert == "") != (r.Key == "") {
		return errors.New("tls_cert and tls_key need each other")
	}
	for _, file := range []string{r.CA, r.Cert, r.Key} {
		if file != "" && !filepath.IsAbs(file) {
			return errors.New("tls_ca, tls_cert and tls_key must be absolute paths")
		}
	}
	return nil
}

func database(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, errors.New("its database is not a non-negative number")
	}
	return n, nil
}
