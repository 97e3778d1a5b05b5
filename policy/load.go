package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// Load reads and compiles the policy file at path. getenv gives the values of ${VAR} and of
// the variables that Parse lists; nil has none. A file that cannot be read is an ordinary
// error; mistakes in it are an Errors.
func Load(path string, getenv func(string) string) (*Snapshot, error) {
	data, err := yamlfile.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	return Parse(path, data, getenv)
}

// LoadServer returns the server section of the file at path as far as it can be read, and
// defaults for the rest, whatever mistakes the file has: a gateway may still run on its
// earlier text. sound reports whether the whole section could be read.
func LoadServer(path string, getenv func(string) string) (s Server, sound bool) {
	data, err := yamlfile.ReadFile(path)
	doc, p := decode(path, data, getenv)
	return p.Server, err == nil && doc.Sound("server")
}

// Parse compiles a policy from its text. name is the file in messages, and relative paths
// in the policy start at its folder. Any error is an Errors with all mistakes.
//
// Keys that the file leaves out are filled from the environment variables of JewGo's
// backend, so that the gateway fits into its environment:
//
//   - redis.url from the first of REDIS_URL; REDIS_CLUSTER_HOSTS;
//     REDIS_SENTINEL_HOSTS with REDIS_SENTINEL_SERVICE; REDIS_HOST, each with
//     REDIS_PORT, REDIS_DB, REDIS_PASSWORD and REDIS_SSL where they fit; and
//     SESSION_REDIS, unless SESSION_TYPE says that sessions are not in Redis.
//   - cache.redis_url from CACHE_REDIS_URL, or memory:// where CACHE_TYPE says
//     that the cache is not in Redis.
//   - cache.default_ttl from CACHE_DEFAULT_TIMEOUT, in bare seconds.
func Parse(name string, data []byte, getenv func(string) string) (*Snapshot, error) {
	doc, p := decode(name, data, getenv)
	sum := sha256.Sum256(data)
	s := &Snapshot{Policy: p, File: name, Digest: hex.EncodeToString(sum[:6])}
	if doc.Usable() {
		compile(doc, s)
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// decode reads as much of a policy's text as can be read; doc holds the mistakes.
func decode(name string, data []byte, getenv func(string) string) (doc *yamlfile.Document, p *Policy) {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	p = &Policy{}
	doc = yamlfile.Read(name, data, p, yamlfile.Options{Kind: "policy", Getenv: getenv, Words: vocabulary, Checks: checks})
	if !doc.Unread("") {
		fillFromEnvironment(doc, p, getenv)
	}
	resolvePaths(p, filepath.Dir(name))
	return doc, p
}

// resolvePaths makes the policy's paths absolute, starting at the file's folder,
// and places the keyrings in the data folder where nothing else is said.
func resolvePaths(p *Policy, folder string) {
	resolve := func(path *string) {
		if *path == "" || filepath.IsAbs(*path) {
			return
		}
		*path = filepath.Join(folder, *path)
		if abs, err := filepath.Abs(*path); err == nil { // it fails in a deleted working folder; relative still works
			*path = abs
		}
	}
	resolve(&p.Server.DataDir)
	resolve(&p.Server.AdminTokenFile)
	resolve(&p.Session.KeysFile)
	resolve(&p.Session.Identity.KeysFile)
	addresses := []*string{&p.Server.Admin}
	for i := range p.Server.Listen {
		addresses = append(addresses, &p.Server.Listen[i])
	}
	if t := p.Server.TLS; t != nil {
		for i := range t.Certificates {
			resolve(&t.Certificates[i].CertFile)
			resolve(&t.Certificates[i].KeyFile)
		}
		resolve(&t.ClientCA)
		if t.ACME != nil {
			resolve(&t.ACME.CAFile)
		}
		addresses = append(addresses, &t.Redirect)
	}
	for _, address := range addresses {
		if socket, ok := strings.CutPrefix(*address, "unix:"); ok && socket != "" {
			resolve(&socket)
			*address = "unix:" + socket
		}
	}
	p.Session.KeysFile = cmp.Or(p.Session.KeysFile, filepath.Join(p.Server.DataDir, "session.keys"))
	p.Session.Identity.KeysFile = cmp.Or(p.Session.Identity.KeysFile, filepath.Join(p.Server.DataDir, "identity.keys"))
}

// vocabulary maps the words of other gateways to the keys of this policy, or to an
// explanation, which contains a space.
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
	"ssl": "server.tls", "https": "server.tls", "certificate": "server.tls.certificates", "ssl_certificate": "server.tls.certificates", "ssl_certificate_key": "server.tls.certificates",
	"tls_cert": "server.tls.certificates[].cert_file; of redis.url tls_cert is a parameter", "tls_key": "server.tls.certificates[].key_file; of redis.url tls_key is a parameter", "tls_ca": "server.tls.client_ca; of redis.url tls_ca is a parameter",
	"client_auth": "server.tls.client_ca", "clientauth": "server.tls.client_ca", "https_redirect": "server.tls.redirect", "http_redirect": "server.tls.redirect", "min_tls_version": "server.tls.min_version", "strict_transport_security": "server.tls.hsts",
	"accept_proxy": "server.proxy_protocol", "http2": "it is on by itself over HTTPS; without, see server.h2c",
	"strip_prefix": "paths go upstream as they are matched", "rewrite": "paths go upstream as they are matched",
	"trust_proxy": "server.trusted_proxies", "trusted_ips": "server.trusted_proxies", "set_real_ip_from": "server.trusted_proxies",
	"websocket": "routes[].upgrade", "websockets": "routes[].upgrade",
}
