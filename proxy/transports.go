package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/policy"
)

// bounds are what a route says of its requests to an upstream: the most that is
// waited for a response's head once the request is sent, and the most that
// nothing may move. 0 is no bound.
type bounds struct{ head, progress time.Duration }

// transports hold the connections of a pool, those of each bounds by themselves.
type transports struct {
	idle  time.Duration // how long a connection is kept without a request
	usual bounds        // of routes without bounds of their own
	all   map[bounds]*http.Transport
}

// newTransports makes those of an upstream's routes; the first bounds are the usual
// ones.
func newTransports(idle time.Duration, all []bounds) *transports {
	t := &transports{idle: idle, usual: all[0], all: map[bounds]*http.Transport{}}
	for _, b := range all {
		if t.all[b] == nil {
			t.all[b] = newTransport(b, idle)
		}
	}
	return t
}

// of gives a route's transport, and how long nothing may move on it; of a route that
// another policy had, the usual one.
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

// keptFor is how long a target's connection may be used after a response that says
// Keep-Alive: timeout=N, seconds (RFC 2068, 19.7.1.1; what browsers and servers
// still go by): less than N, since what is on its way by then arrives too late.
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
