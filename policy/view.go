package policy

import (
	"net/netip"
	"strings"
	"time"
)

// Fields gives a request's header fields; http.Header is one.
type Fields interface {
	// Get returns the first value of the field, or "". The name is canonical.
	Get(name string) string
	// Values returns all values of the field, in order. The name is canonical.
	Values(name string) []string
}

// View is what decisions see of a request: routes, limits and the cache are
// decided from a View alone, never from an *http.Request, so that whoever can
// make a View (net/http's handler chain, a test) gets the same answer.
type View struct {
	Method    string
	Host      string     // lower case, without port
	Authority string     // Host with its port, as the upstream will see it; lower case
	Path      string     // canonical escaped path, as it is matched, keyed and forwarded
	Query     string     // raw query, well-formed, without '?'
	Client    netip.Addr // client address behind trusted proxies, unmapped
	TLS       bool       // the client's side is encrypted, here or at a trusted proxy
	Now       time.Time
	Header    Fields
}

// NormalHost gives a host without port as View.Host has it: lower case, without
// the brackets of an IPv6 address and without a final dot.
func NormalHost(host string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
