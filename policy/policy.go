// Package policy turns the gateway's YAML file into an immutable Snapshot.
//
// Load and Parse read strictly: every mistake is reported at once, each with
// file, line and column. Then they compile: references are resolved,
// conflicts are found (unknown names, unreachable routes), and everything is computed that
// does not depend on a request.
// Match finds the route of a request. Live holds the snapshot in force.
//
// The package does no I/O but reading the file, keeps no state, and leaves
// enforcing what the policy says to proxy and middleware.
package policy

// Policy is the file as written, with defaults filled in. Its yaml tags
// are the surface of the gateway; the JSON Schema is generated from them.
type Policy struct {
	Version   int                 `yaml:"version" jsonschema:"required,enum=1" jsonschema_description:"Version of this format; 1."`
	Server    Server              `yaml:"server" jsonschema_description:"Listeners, trust and limits of the edge itself."`
	Log       Log                 `yaml:"log" jsonschema_description:"The access log on standard output."`
	Redis     Redis               `yaml:"redis" jsonschema_description:"The shared store; without it everything lives in local memory."`
	Upstreams map[string]Upstream `yaml:"upstreams" jsonschema_description:"Backends by name."`
	RateLimit RateLimit           `yaml:"ratelimit" jsonschema_description:"How limits are kept and shown, whatever their number."`
	Limits    map[string]LimitDef `yaml:"limits" jsonschema_description:"Rate limits by name; routes refer to them."`
	Session   Session             `yaml:"session" jsonschema_description:"Session cookies sealed by the gateway."`
	Cache     Cache               `yaml:"cache" jsonschema_description:"The response cache as a whole; routes say what is cached."`
	CORS      CORS                `yaml:"cors" jsonschema_description:"Cross-origin rules, answered by the gateway for every route."`
	Warm      StringList          `yaml:"warm" jsonschema_description:"URLs or paths that are asked for at the start, and after a purge of everything."`
	Routes    []RouteDef          `yaml:"routes" jsonschema_description:"Routes; the most specific pattern wins."`
}

// Server configures the listeners and what is checked before routing.
type Server struct {
	Listen                  StringList        `yaml:"listen" default:":8080" check:"address" jsonschema:"minItems=1" jsonschema_description:"Address of the gateway, or a list of them: host:port, unix:/path, or systemd:NAME for the sockets that systemd passes by that name."`
	SocketMode              FileMode          `yaml:"socket_mode" default:"0660" jsonschema_description:"Permissions of listen's unix sockets. If other users may not write to them, every peer is trusted like one of trusted_proxies. Those of a socket from systemd are set by its unit, and count the same."`
	ProxyProtocol           []Prefix          `yaml:"proxy_protocol" jsonschema_description:"Networks whose connections begin with a PROXY header, version 1 or 2, which names the client; without one they are closed. Headers from elsewhere are refused. Unix sockets have none."`
	TLS                     *TLS              `yaml:"tls" jsonschema_description:"HTTPS at every address of listen; absent: HTTP."`
	H2C                     bool              `yaml:"h2c" jsonschema_description:"Without tls: also take HTTP/2 from clients that begin with it (prior knowledge), such as a proxy in front."`
	Admin                   string            `yaml:"admin" default:"127.0.0.1:9901" check:"address,optional" jsonschema_description:"Address of health, metrics and the admin API, as in listen; empty: none."`
	AdminTokenFile          string            `yaml:"admin_token_file" jsonschema_description:"File with the admin API's bearer token; with it, reads from this machine need the token too, as those from elsewhere always do."`
	Peers                   string            `yaml:"peers" jsonschema_description:"Address, host:port, at which other gateways reach this one, for logouts and purges while Redis is unavailable. They need the same session.keys_file and use mutual TLS with keys derived from it. Empty: none."`
	Hosts                   []string          `yaml:"hosts" check:"host" jsonschema_description:"Host names that are served, without port; others get 421. Omitted: every host."`
	TrustedProxies          []Prefix          `yaml:"trusted_proxies" jsonschema_description:"Networks whose X-Forwarded-For and X-Forwarded-Proto, or Forwarded, are trusted."`
	Production              bool              `yaml:"production" jsonschema_description:"This policy serves real users, so gateway-drill needs --yes."`
	DataDir                 string            `yaml:"data_dir" default:"./data" check:"filled" jsonschema_description:"Folder for generated keys, certificates and journals, relative to the file."`
	Timeouts                Timeouts          `yaml:"timeouts" jsonschema_description:"Timeouts towards clients."`
	MaxHeader               Size              `yaml:"max_header" default:"32KiB" jsonschema_description:"Largest request head; above it 431."`
	Headers                 map[string]string `yaml:"headers" jsonschema_description:"Fields that are set on every response in place of the upstream's, as in {X-Content-Type-Options: nosniff}. None by default."`
	Trace                   Trace             `yaml:"trace" jsonschema_description:"Traces (W3C Trace Context). A request's own traceparent goes upstream and into the log."`
	Timing                  string            `yaml:"timing" default:"off" jsonschema:"enum=off,enum=asked,enum=on" jsonschema_description:"Responses have Server-Timing: off, asked (by requests with a Server-Timing header), or on."`
	Paths                   string            `yaml:"paths" default:"strict" jsonschema:"enum=strict,enum=decode" jsonschema_description:"What becomes of an escaped slash (%2F) in a path: strict answers 400, decode takes it for a slash, for matching, keying and sending alike."`
	MaxTarget               Size              `yaml:"max_target" default:"4000" jsonschema_description:"Longest target of a request (path and query, as sent) in bytes; above it 414. gunicorn takes request lines of 4,094 bytes."`
	MaxFields               int               `yaml:"max_fields" default:"80" jsonschema:"minimum=16,maximum=1000" jsonschema_description:"Most header fields of a request; above it 431. gunicorn takes 100, and the gateway adds up to 12."`
	MaxField                Size              `yaml:"max_field" default:"8000" jsonschema_description:"Longest header field in bytes, with its name; above it 431. gunicorn takes 8,190."`
	MaxConnections          int               `yaml:"max_connections" jsonschema:"minimum=0" jsonschema_description:"Most connections of clients at once; others wait until one ends, and those that were idle for 5 s are closed for them. 0: as many as half the file descriptors of the process allow."`
	MaxConnectionsPerClient int               `yaml:"max_connections_per_client" default:"512" jsonschema:"minimum=0" jsonschema_description:"Most connections at once from one address (IPv6: /64), other than loopback and trusted_proxies; more are closed. 0: no bound."`
	MaxBody                 Size              `yaml:"max_body" default:"10MiB" jsonschema_description:"Largest request body; above it 413; 0: no body. A route may have its own."`
	MinUploadRate           Size              `yaml:"min_upload_rate" default:"1000" jsonschema_description:"Bytes a second that a client must send of a body after timeouts.upload_grace; else 408. Only time spent waiting for the client counts, until the response's head. 0: none."`
}

// DecodesSlashes reports whether an escaped slash in a path is a slash.
func (s *Server) DecodesSlashes() bool { return s.Paths == "decode" }

// TLS configures HTTPS. It needs certificates, acme or both.
type TLS struct {
	Certificates []CertificateDef `yaml:"certificates" jsonschema_description:"Certificates in files. A client gets the first one for the name that it asks for, or the first of all. Changed files are read again."`
	ACME         *ACME            `yaml:"acme" jsonschema_description:"Certificates from an ACME server such as Let's Encrypt, by HTTP-01 (needs redirect at port 80) or TLS-ALPN-01 (needs listen at port 443). With it you accept the server's terms."`
	Redirect     string           `yaml:"redirect" check:"address,optional" jsonschema_description:"Address, such as :80, at which plain HTTP is answered with a redirect to HTTPS (308)."`
	RedirectPort int              `yaml:"redirect_port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Port of HTTPS in redirects, where clients see another than that of listen, as behind port mapping; 0: that of listen."`
	MinVersion   TLSVersion       `yaml:"min_version" default:"1.2" jsonschema_description:"Oldest version of TLS that clients may use: 1.2 or 1.3."`
	ClientCA     string           `yaml:"client_ca" jsonschema_description:"File of CA certificates in PEM. Clients need a certificate that one of them has signed. A changed file is read again."`
	HSTS         HSTS             `yaml:"hsts" jsonschema_description:"Tell browsers to use HTTPS alone."`
}

// CertificateDef is a certificate in files.
type CertificateDef struct {
	CertFile string `yaml:"cert_file" check:"filled" jsonschema:"required" jsonschema_description:"The certificate and its chain in PEM."`
	KeyFile  string `yaml:"key_file" check:"filled" jsonschema:"required" jsonschema_description:"Its private key in PEM. Only owner and group may read the file."`
}

// ACME configures certificates from an ACME server (RFC 8555).
type ACME struct {
	Hosts     StringList `yaml:"hosts" check:"name" jsonschema:"required,minItems=1" jsonschema_description:"Host names, each of which gets a certificate."`
	Email     string     `yaml:"email" check:"email,optional" jsonschema_description:"Where the server may write to."`
	Directory string     `yaml:"directory" default:"https://acme-v02.api.letsencrypt.org/directory" check:"https" jsonschema_description:"URL of the server's directory."`
	CAFile    string     `yaml:"ca_file" jsonschema_description:"CA certificates in PEM that the server's own certificate is checked against; default: the system's."`
}

// HSTS configures Strict-Transport-Security (RFC 6797).
type HSTS struct {
	MaxAge     Duration `yaml:"max_age" jsonschema_description:"How long browsers remember it; 0: the gateway leaves the upstream's own field alone."`
	Subdomains bool     `yaml:"subdomains" jsonschema_description:"It holds for all subdomains too."`
}

// Trace configures how requests without a trace get one.
type Trace struct {
	Make    bool    `yaml:"make" jsonschema_description:"Requests without a traceparent get a new one."`
	Sampled Percent `yaml:"sampled" default:"100%" jsonschema_description:"Share of the new ones that ask the upstream to record the trace."`
}

// Timeouts are those towards clients; an upstream has its own.
type Timeouts struct {
	ReadHeader Duration `yaml:"read_header" default:"3s" check:"positive" jsonschema_description:"To receive a whole request head."`
	Progress   Duration `yaml:"progress" default:"30s" check:"positive" jsonschema_description:"Without a byte moving in either direction. A route may have its own."`
	// UploadGrace comes before Server.MinUploadRate counts.
	UploadGrace Duration `yaml:"upload_grace" default:"30s" check:"positive" jsonschema_description:"Time that every body may take before min_upload_rate applies."`
	Idle        Duration `yaml:"idle" default:"75s" check:"positive" jsonschema_description:"Of a kept-alive connection between requests."`
	LameDuck    Duration `yaml:"lame_duck" jsonschema_description:"How long a stopping gateway still serves, one more request a connection, while /readyz says that it is not ready. Set it longer than your load balancer takes to notice."`
	Drain       Duration `yaml:"drain" default:"20s" jsonschema_description:"Time for requests in flight, streams and WebSockets to end when the gateway stops, after lame_duck. The rest is cut off, WebSockets with a close frame (1001)."`
}

// Redis configures the shared store.
type Redis struct {
	URL      Secret   `yaml:"url" jsonschema_description:"redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (rediss+… with TLS: tls_ca, tls_cert, tls_key, tls_server_name as parameters; of a Sentinel sentinel_user, sentinel_password); empty or memory:// means local memory alone."`
	Budget   Duration `yaml:"budget" default:"50ms" check:"positive" jsonschema_description:"How long one request waits for Redis at most, all calls together."`
	PoolSize int      `yaml:"pool_size" jsonschema:"minimum=1" jsonschema_description:"Most connections to one Redis node; default: ten a processor, in a cluster five."`
	Replicas Replicas `yaml:"replicas" jsonschema_description:"Gateways that share the limits while Redis is unavailable: a number, or auto: the most that were seen in Redis at once within the last ten minutes, remembered on disk."`
}

// Upstream is one backend, served by one or more targets.
type Upstream struct {
	Targets     []string    `yaml:"targets" check:"target" jsonschema:"required,minItems=1" jsonschema_description:"Base URLs without path: http, https, or h2c for HTTP/2 without TLS, as many gRPC servers speak it."`
	Balance     string      `yaml:"balance" default:"p2c" jsonschema:"enum=p2c,enum=round_robin,enum=hash" jsonschema_description:"How a target is chosen: p2c (least busy of two), round_robin, or hash (by client address)."`
	Timeout     Duration    `yaml:"timeout" default:"30s" check:"positive" jsonschema_description:"From sending the request to the response's headers. A route may have its own."`
	Idle        Duration    `yaml:"idle" default:"60s" check:"positive" jsonschema_description:"How long an idle connection is kept; set it shorter than the target's own. A target's Keep-Alive: timeout=N shortens it."`
	Fills       int         `yaml:"fills" default:"32" jsonschema:"minimum=1,maximum=10000" jsonschema_description:"Most requests of the cache that wait for its responses at once, so that an empty cache does not overload it. The others wait for their turn."`
	Buffer      Size        `yaml:"buffer" default:"1MiB" jsonschema_description:"So much of a request's body is read before the upstream is asked, so that slow clients do not occupy its workers; the rest streams. 0: all of it streams. Bodies of gRPC do where the client speaks HTTP/2 and a target is h2c or https."`
	Concurrency Concurrency `yaml:"concurrency" jsonschema_description:"How many requests it gets at once. The gateway finds the number by how long answers take; those beyond it wait for their turn, and then get 503 with Retry-After, or a stale response."`
	Retries     Retries     `yaml:"retries" jsonschema_description:"Second tries of idempotent requests without a body."`
	Health      Health      `yaml:"health" jsonschema_description:"Active health checks; without a path there are none."`
}

// Retries bounds how often a failed request is sent again.
type Retries struct {
	Attempts int     `yaml:"attempts" default:"2" jsonschema:"minimum=0,maximum=5" jsonschema_description:"Further tries after the first."`
	Budget   Percent `yaml:"budget" default:"20%" jsonschema_description:"Retries as a share of recent requests."`
}

// Concurrency bounds the requests that an upstream has at once.
type Concurrency struct {
	Min  int      `yaml:"min" default:"64" jsonschema:"minimum=1,maximum=100000" jsonschema_description:"So many are always let through, however slow it is."`
	Max  int      `yaml:"max" default:"1024" jsonschema:"minimum=1,maximum=100000" jsonschema_description:"Never more than these, however fast it is."`
	Wait Duration `yaml:"wait" default:"1s" jsonschema_description:"How long a request waits for its turn; 0s: not at all."`
}

// Health configures active checks of an upstream's targets.
type Health struct {
	Path           string   `yaml:"path" check:"path,optional" jsonschema_description:"Path for GET; 2xx and 3xx are healthy."`
	Interval       Duration `yaml:"interval" default:"5s" check:"positive" jsonschema_description:"Between checks of one target."`
	Timeout        Duration `yaml:"timeout" default:"1s" check:"positive" jsonschema_description:"For one check."`
	UnhealthyAfter int      `yaml:"unhealthy_after" default:"3" jsonschema:"minimum=1" jsonschema_description:"Failed checks in a row after which a target gets no requests."`
}

// RateLimit configures what all limits have in common.
type RateLimit struct {
	Keys    int              `yaml:"keys" default:"262144" jsonschema:"minimum=1024,maximum=16777216" jsonschema_description:"Most buckets kept in local memory."`
	Headers RateLimitHeaders `yaml:"headers" jsonschema_description:"Headers that tell clients about their limits."`
}

// RateLimitHeaders configures the fields that tell a client what it has left.
type RateLimitHeaders struct {
	IETF   string `yaml:"ietf" default:"draft-10" jsonschema:"enum=draft-10,enum=draft-07,enum=draft-06,enum=off" jsonschema_description:"RateLimit and RateLimit-Policy by this version of draft-ietf-httpapi-ratelimit-headers, or off."`
	Legacy bool   `yaml:"legacy" default:"true" jsonschema_description:"Also X-RateLimit-Limit, -Remaining and -Reset."`
}

// LimitDef is a limit as written: of a rate, or of requests in flight. Burst 0
// stands for the rate's number.
type LimitDef struct {
	Key        StringList         `yaml:"key" default:"client_ip" jsonschema_description:"What is counted: client_ip, session, session.user, header:NAME, cookie:NAME, path:NAME, host, or a list of these."`
	When       string             `yaml:"when" default:"always" jsonschema:"enum=always,enum=anonymous,enum=session" jsonschema_description:"Which requests it applies to."`
	Missing    string             `yaml:"missing" jsonschema:"enum=skip,enum=deny,enum=client_ip" jsonschema_description:"What happens without the key: skip (default where the key is a session's), deny, or client_ip (default elsewhere)."`
	Rate       Rate               `yaml:"rate" jsonschema_description:"N/s, N/min, N/h, N/day or N/15min. A limit has rate or in_flight."`
	Burst      int                `yaml:"burst" jsonschema:"minimum=1" jsonschema_description:"Requests admitted at once; default: the number of the rate."`
	InFlight   int                `yaml:"in_flight" jsonschema:"minimum=1" jsonschema_description:"Instead of a rate: most requests in flight of each key on each gateway."`
	Cost       Costs              `yaml:"cost" jsonschema:"minimum=1" jsonschema_description:"Tokens that one request takes: a number, or numbers by method, as {GET: 1, POST: 5}. Methods not named cost 1, and HEAD costs the same as GET."`
	Tiers      map[string]TierDef `yaml:"tiers" jsonschema_description:"Other rates by kind of caller: anonymous (no session), guest (a session without a user), standard (a user), or the name of a role. If several apply, the highest rate wins, then the highest burst; if none applies, the limit's own rate."`
	Overrides  []OverrideDef      `yaml:"overrides" jsonschema_description:"Other rates for single keys, whatever the tier."`
	Allow      []Prefix           `yaml:"allow" jsonschema_description:"Client addresses that this limit neither counts nor refuses. If blocks of allow and deny overlap, the most specific wins."`
	Deny       []Prefix           `yaml:"deny" jsonschema_description:"Client addresses refused with 403 on every route with this limit. If blocks of allow and deny overlap, the most specific wins."`
	Statuses   []Status           `yaml:"statuses" jsonschema:"minItems=1" jsonschema_description:"Count only responses with these statuses, such as 401 or 5xx. Every request counts while it is in flight; the others get their tokens back with the response. Omitted: every request counts."`
	IPv6Prefix int                `yaml:"ipv6_prefix" default:"64" jsonschema:"minimum=1,maximum=128" jsonschema_description:"Bits of an IPv6 address that are counted together."`
	Shadow     bool               `yaml:"shadow" jsonschema_description:"Count and log, but never refuse."`
	Lease      Lease              `yaml:"lease" jsonschema_description:"Most tokens of one key that a gateway may take in advance; auto: all gateways together 5 % of the burst; off, 0 or 1: none."`
}

// TierDef is what one kind of caller has. Burst 0 stands for the rate's number.
type TierDef struct {
	Rate  Rate `yaml:"rate" jsonschema:"required" jsonschema_description:"As the limit's."`
	Burst int  `yaml:"burst" jsonschema:"minimum=1" jsonschema_description:"As the limit's; default: this rate's number."`
}

// OverrideDef is what one key has. Burst 0 stands for the rate's number.
type OverrideDef struct {
	Key   StringList `yaml:"key" jsonschema:"required" jsonschema_description:"The key's value, or a list of its parts: for client_ip an address or block (the most specific wins), else the exact value. An address or block also applies to requests that missing: client_ip counts by address."`
	Rate  Rate       `yaml:"rate" jsonschema:"required" jsonschema_description:"As the limit's."`
	Burst int        `yaml:"burst" jsonschema:"minimum=1" jsonschema_description:"As the limit's; default: this rate's number."`
}

// Session configures the sealed session cookie and what the upstream learns.
type Session struct {
	Cookie         Cookie     `yaml:"cookie" jsonschema_description:"The cookie in the browser."`
	KeysFile       string     `yaml:"keys_file" jsonschema_description:"Keyring that seals cookies, newest key first; made at the first start. Default: session.keys in data_dir."`
	Idle           Duration   `yaml:"idle" default:"30m" check:"positive" jsonschema_description:"A session ends after this time without a request."`
	Absolute       Duration   `yaml:"absolute" default:"720h" check:"positive" jsonschema_description:"A session ends this long after login, used or not."`
	Identity       Identity   `yaml:"identity" jsonschema_description:"The signed header that tells the upstream who is calling."`
	TrustedOrigins StringList `yaml:"trusted_origins" check:"origin" jsonschema_description:"Origins, beside cors.origins, whose pages may change things in the user's name; the host may contain one *. Requests with the session cookie from pages of other origins get 403, unless they only read."`
	Offload        StringList `yaml:"offload" jsonschema_description:"Names of upstream cookies that are kept in the session: the upstream gets them on routes with a session, the browser never sees them. Cookies of these names from a browser are dropped on every route. The first such cookie begins a session. Cookies without HttpOnly, with another Domain or above 4 KiB go to the browser as before."`
	OffloadMigrate bool       `yaml:"offload_migrate" jsonschema_description:"Requests without a session may bring cookies of these names, so that users who signed in before offload was set stay signed in. The next Set-Cookie moves them into a session. Turn it off when the old cookies have expired: until then a stolen one still works."`
}

// Cookie holds the attributes of the session cookie. HttpOnly and Path=/ are fixed.
type Cookie struct {
	Name     string `yaml:"name" default:"__Host-gw" jsonschema_description:"Its name; the prefix __Host- needs secure."`
	SameSite string `yaml:"same_site" default:"lax" jsonschema:"enum=lax,enum=strict,enum=none" jsonschema_description:"lax, strict or none."`
	Secure   bool   `yaml:"secure" default:"true" jsonschema_description:"Sent over HTTPS only."`
}

// Identity configures the signed identity header.
type Identity struct {
	Header   string   `yaml:"header" default:"X-Gw-Identity" jsonschema_description:"Its name; copies from clients are removed on every route."`
	KeysFile string   `yaml:"keys_file" jsonschema_description:"Keyring that signs it, newest key first; made at the first start. Default: identity.keys in data_dir."`
	TTL      Duration `yaml:"ttl" default:"60s" check:"positive" jsonschema_description:"How long it is valid, at most 60s."`
}

// Cache configures the response cache as a whole.
type Cache struct {
	Memory         Size     `yaml:"memory" default:"256MiB" jsonschema_description:"Most bytes of the local store; 0: no local store, Redis alone holds responses."`
	RedisURL       Secret   `yaml:"redis_url" jsonschema_description:"A Redis for the cache alone; memory:// for none. Default: redis.url."`
	MaxObject      Size     `yaml:"max_object" default:"8MiB" jsonschema_description:"Largest body that is stored."`
	Keep           Duration `yaml:"keep" default:"1h" jsonschema_description:"How long a response is kept after its freshness ends, to be validated. Responses that may be served stale are kept for as long as that, at most two weeks."`
	RedisMemory    Size     `yaml:"redis_memory" jsonschema_description:"Memory of each Redis node, for a Redis without maxmemory: at 80 % of it the gateway stops writing responses, until it is at 70 %. 0: no bound. Not used for a Redis of the cache's own that evicts."`
	DefaultTTL     Duration `yaml:"default_ttl" jsonschema_description:"Lifetime of responses without freshness of their own, on cached routes in managed mode without a ttl."`
	StoreSetCookie bool     `yaml:"store_set_cookie" jsonschema_description:"Store responses with Set-Cookie. The standard allows it; at an edge it is dangerous."`
	ExposeTags     bool     `yaml:"expose_tags" jsonschema_description:"Leave Surrogate-Key and Cache-Tag, the tags that the upstream gives a response, in responses to clients."`
	Debug          bool     `yaml:"debug" jsonschema_description:"Show the cache key of every response in Cache-Status (RFC 9211, 2.7), as in gw:{c:KEY} in Redis."`
}

// CORS configures cross-origin requests. No origins: the gateway leaves the
// upstream's own headers alone.
type CORS struct {
	Origins     StringList `yaml:"origins" check:"origin" jsonschema_description:"Allowed origins; the host may contain one *, as in https://*.example.org."`
	Methods     StringList `yaml:"methods" default:"GET,HEAD,POST,PUT,PATCH,DELETE" check:"method" jsonschema_description:"Methods that a preflight allows."`
	Headers     StringList `yaml:"headers" check:"header" jsonschema_description:"Request headers that a preflight allows."`
	Expose      StringList `yaml:"expose" check:"header" jsonschema_description:"Response headers that scripts may read."`
	Credentials bool       `yaml:"credentials" jsonschema_description:"Allow cookies and Authorization."`
	MaxAge      Duration   `yaml:"max_age" default:"10m" jsonschema_description:"How long a browser may keep a preflight."`
}

// RouteDef is a route as written.
type RouteDef struct {
	Name          string     `yaml:"name" jsonschema:"required" jsonschema_description:"Unique name, in logs and metrics."`
	Match         MatchDef   `yaml:"match" jsonschema:"required" jsonschema_description:"Which requests it takes."`
	Upstream      string     `yaml:"upstream" jsonschema_description:"Name of the backend; required unless deny is set."`
	Deny          int        `yaml:"deny" jsonschema:"minimum=400,maximum=599" jsonschema_description:"Answer with this status, without an upstream."`
	Limits        StringList `yaml:"limits" jsonschema_description:"Names of limits, all of which must admit the request."`
	Session       string     `yaml:"session" default:"off" jsonschema:"enum=off,enum=optional,enum=required" jsonschema_description:"off, optional, or required (401 without one)."`
	SessionSignal bool       `yaml:"session_signal" jsonschema_description:"The upstream may log in and out by X-Gw-Session."`
	Cache         *CacheDef  `yaml:"cache" jsonschema_description:"How responses are cached; absent: not at all."`
	Invalidates   StringList `yaml:"invalidates" jsonschema_description:"Tags purged after a 2xx or 3xx; {name} stands for a path value."`
	Upgrade       StringList `yaml:"upgrade" check:"websocket" jsonschema_description:"Protocols that a client may switch to: websocket."`
	Timeout       Duration   `yaml:"timeout" check:"positive" jsonschema_description:"Replaces the upstream's."`
	Progress      Duration   `yaml:"progress" check:"positive" jsonschema_description:"Replaces server.timeouts.progress, in both directions; set it long for streams that are silent at times."`
	MaxBody       Size       `yaml:"max_body" jsonschema_description:"Replaces server.max_body where it is written; 0: no body."`
	Log           *RouteLog  `yaml:"log" jsonschema_description:"Its own access log; absent: as in log."`
}

// MatchDef says which requests a route takes. Path is a net/http ServeMux
// pattern without method and host.
type MatchDef struct {
	Methods StringList        `yaml:"methods" check:"method" jsonschema_description:"Methods; omitted: any. GET takes HEAD too."`
	Host    string            `yaml:"host" check:"host,optional" jsonschema_description:"Host name, without port; omitted: any."`
	Path    string            `yaml:"path" jsonschema:"required" jsonschema_description:"Path pattern: /a/{id}, /a/{rest...}, /a/{$}."`
	Header  map[string]string `yaml:"header" jsonschema_description:"Headers that must have exactly these values."`
}

// CacheDef says how a route's responses are cached.
type CacheDef struct {
	Mode                 string              `yaml:"mode" default:"managed" jsonschema:"enum=managed,enum=strict" jsonschema_description:"managed: by this policy, within the standard; strict: by the origin's headers alone."`
	TTL                  Duration            `yaml:"ttl" jsonschema_description:"Lifetime, at this gateway alone, of responses that may be cached by default (RFC 9110, 15.1: 200, 301, 404 and others, no 5xx); never overrides private, no-store, Set-Cookie or Authorization."`
	Statuses             map[string]Duration `yaml:"statuses" jsonschema_description:"Lifetimes by status, in place of ttl and under the same limits, as in {404: 10s, 301: 1h, 5xx: 5s}. A status overrides its class; 0s: not stored. Classes leave out statuses that are never stored, since they are about one request or client, such as 400, 412 and 429. A 5xx never replaces a response that may still be served."`
	StaleWhileRevalidate Duration            `yaml:"stale_while_revalidate" jsonschema_description:"How long a stale response is served while it is refreshed."`
	StaleIfError         Duration            `yaml:"stale_if_error" jsonschema_description:"How long a stale response is served while the upstream fails."`
	Query                QueryDef            `yaml:"query" jsonschema_description:"Which parameters are part of the key; the others are not sent upstream."`
	Vary                 StringList          `yaml:"vary" check:"header" jsonschema_description:"Request headers that select a variant, beside the response's own Vary. In managed mode Accept-Encoding selects none."`
	Encode               bool                `yaml:"encode" default:"true" jsonschema_description:"Compress for each client with zstd, br or gzip, as it accepts; false: send as stored. In managed mode only."`
	Key                  StringList          `yaml:"key" jsonschema_description:"What else is in the key: header:NAME, cookie:NAME, session (private entries, dropped at logout). No Vary is needed for these."`
	Bypass               StringList          `yaml:"bypass" jsonschema_description:"Requests with one of these, even if empty, bypass the cache: header:NAME, cookie:NAME, session."`
	Pass                 StringList          `yaml:"pass" check:"header" jsonschema_description:"Request headers that are sent upstream although they are not in the key, since they change no response. Managed routes send no others, except those named in vary, key or a response's Vary."`
	Tags                 StringList          `yaml:"tags" jsonschema_description:"Tags of stored responses; {name} stands for a path value."`
}

// QueryDef selects the query parameters that reach the key and the upstream.
type QueryDef struct {
	Sort  bool                `yaml:"sort" default:"true" jsonschema_description:"Ignore the order of parameters: they are sent sorted by name; repeated ones keep their order."`
	Allow StringList          `yaml:"allow" jsonschema_description:"Only these; omitted: all."`
	Deny  StringList          `yaml:"deny" jsonschema_description:"All but these."`
	Round map[string]int      `yaml:"round" jsonschema_description:"Decimals to which a number is rounded, in the key and in the request upstream."`
	TTL   map[string]Duration `yaml:"ttl" jsonschema_description:"Lifetimes of responses to requests with these parameters, shorter than the cache's ttl; they also shorten those of statuses."`
}
