package policy

import (
	"net/netip"
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
// make a View (net/http's handler chain, explain, a test) gets the same answer.
type View struct {
	Method string
	Host   string     // lower case, without port
	Path   string     // canonical escaped path, as it is matched, keyed and forwarded
	Query  string     // raw query, well-formed, without '?'
	Client netip.Addr // client address behind trusted proxies, unmapped
	TLS    bool
	Now    time.Time
	Header Fields
}
