package middleware

import (
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/jewgo/gateway/internal/problem"
)

// checkHops refuses a request that has been here, and a malformed count of hops.
func checkHops(r *http.Request, hop string) problem.Problem {
	if slices.ContainsFunc(r.Header["Via"], func(via string) bool { return strings.Contains(via, hop) }) {
		return problem.Problem{Status: http.StatusLoopDetected, Detail: "the request comes from this gateway: an upstream leads back to it"}
	}
	if r.Method == http.MethodOptions && len(r.Header["Max-Forwards"]) > 0 {
		if _, err := strconv.ParseUint(r.Header.Get("Max-Forwards"), 10, 32); err != nil || len(r.Header["Max-Forwards"]) > 1 {
			return problem.Problem{Status: http.StatusBadRequest, Detail: "Max-Forwards is malformed"}
		}
	}
	return problem.Problem{}
}

// lastHop reports whether an OPTIONS request is for the gateway, not for its upstream, and counts this hop
// (RFC 9110, 7.6.2 and 9.3.7).
func lastHop(r *http.Request) bool {
	if r.RequestURI == "*" {
		return true
	}
	if len(r.Header["Max-Forwards"]) == 0 {
		return false
	}
	left, _ := strconv.ParseUint(r.Header.Get("Max-Forwards"), 10, 32) // checkHops has seen it
	if left > 0 {
		r.Header.Set("Max-Forwards", strconv.FormatUint(left-1, 10))
	}
	return left == 0
}

// endHops removes the fields that Connection names: they end here (RFC 9110, 7.6.1), so no decision
// may depend on them. The proxy removes them too, but only after the cache key is built. Upgrade
// and TE are left to the proxy.
func endHops(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			switch name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)); name {
			case "Connection", "Upgrade", "Te":
			default:
				delete(h, name)
			}
		}
	}
}
