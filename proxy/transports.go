package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/policy"
)

// bounds are a route's time bounds for its requests to an upstream: from the end of the request to
// the response's header, and the longest time without progress. 0: no bound.
type bounds struct{ head, progress time.Duration }

// transports holds the connections of a pool, separately for each bounds.
type transports struct {
	idle  time.Duration // how long idle connections are kept
	h2c   bool          // HTTP/2 without TLS, and nothing else
	usual bounds        // of routes without their own
	all   map[bounds]*http.Transport
}

// newTransports makes the transports of an upstream; the first of all is the default.
func newTransports(idle time.Duration, h2c bool, all []bounds) *transports {
	t := &transports{idle: idle, h2c: h2c, usual: all[0], all: map[bounds]*http.Transport{}}
	for _, b := range all {
		if t.all[b] == nil {
			t.all[b] = newTransport(b, idle, h2c)
		}
	}
	return t
}

// of returns a route's transport, and its longest time without progress. Routes of another policy get
// the default.
func (t *transports) of(r *policy.Route) (transport *http.Transport, progress time.Duration) {
	b := bounds{r.Timeout, r.Progress}
	if t.all[b] == nil {
		b = t.usual
	}
	return t.all[b], b.progress
}

func (t *transports) closeIdle() {
	for _, transport := range t.all {
		transport.CloseIdleConnections()
	}
}

// keptFor is how long a connection may be reused after a response with Keep-Alive: timeout=N, in
// seconds (RFC 2068, 19.7.1.1, which browsers and servers still follow). It is less than N, since a
// request that is under way at that moment would arrive too late.
func keptFor(h http.Header) (time.Duration, bool) {
	for _, line := range h["Keep-Alive"] {
		for parameter := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
			if seconds, err := strconv.ParseUint(value, 10, 31); err == nil && strings.EqualFold(name, "timeout") {
				told := time.Duration(seconds) * time.Second
				return max(told-min(time.Second, told/2), time.Millisecond), true
			}
		}
	}
	return 0, false
}
