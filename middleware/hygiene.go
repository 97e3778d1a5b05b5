package middleware

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/policy"
)

// Hygiene refuses malformed or ambiguous requests before any decision. It brings path and query
// into the canonical form that all later layers see, and strips the headers that only the gateway
// may send upstream.
//
// hop is this gateway's entry in Via, without the version; it is unique. A request that holds it comes back
// from the gateway's own upstream.
func Hygiene(hop string) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hygiene(hop, next, w, r) })
	}
}

func hygiene(hop string, next http.Handler, w http.ResponseWriter, r *http.Request) {
	ex := exchange.From(r.Context())
	p := check(r, ex)
	if p.Status == 0 {
		p = checkHops(r, hop)
	}
	if p.Status != 0 {
		ex.Refuse(w, p.Detail, p)
		return
	}
	if r.Method == http.MethodOptions && lastHop(r) {
		ex.Facts.Reason = "OPTIONS for the gateway itself"
		if allowed := ex.Snapshot.Allowed(&ex.View); len(allowed) > 0 { // an empty field would say that none is
			w.Header().Set("Allow", strings.Join(allowed, ", "))
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	endHops(r.Header)
	strip(r.Header, ex.Snapshot.Policy.Session.Identity.Header)
	// In place, since nothing else uses it.
	*r.URL = url.URL{Path: r.URL.Path, RawPath: ex.View.Path, RawQuery: ex.View.Query}
	next.ServeHTTP(w, r)
}

// check completes the View, or returns why the request is refused.
func check(r *http.Request, ex *exchange.Exchange) problem.Problem {
	refuse := func(status int, detail string) problem.Problem {
		return problem.Problem{Status: status, Detail: detail}
	}
	switch {
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
		return refuse(http.StatusNotImplemented, "the method is not served")
	case !wellFormedMethod(r.Method):
		if p := problem.From(r.Context()); p != nil { // internal/wire has found it malformed, and knows more
			return *p
		}
		return refuse(http.StatusBadRequest, "the method is malformed")
	case r.URL.Scheme != "" && r.URL.Scheme != "http" && r.URL.Scheme != "https":
		return refuse(http.StatusBadRequest, "the target's scheme is not served")
	case !wellFormedHost(r.Host):
		return refuse(http.StatusBadRequest, "the host is malformed")
	}
	server := &ex.Snapshot.Policy.Server
	if r.ProtoMajor >= 2 {
		if status, detail := http2Problem(r, server); status != 0 {
			return refuse(status, detail)
		}
	}
	if len(server.Hosts) > 0 && !slices.Contains(server.Hosts, ex.View.Host) {
		return refuse(http.StatusMisdirectedRequest, "the host is not served")
	}
	escaped := SentPath(r.URL)
	if r.Method == http.MethodOptions && escaped == "*" { // the server as a whole (RFC 9110, 9.3.7)
		escaped = "/"
	}
	path, bad := CanonicalPath(escaped, server.DecodesSlashes())
	if bad == "" {
		bad = queryProblem(r.URL.RawQuery)
	}
	if bad != "" {
		return refuse(http.StatusBadRequest, bad)
	}
	ex.View.Path, ex.View.Query = path, r.URL.RawQuery
	return problem.Problem{}
}

// http2Problem checks what internal/wire checks of HTTP/1, and what net/http passes on although the message
// is malformed (RFC 9113): a host that differs from :authority (8.3.1), and fields of a connection (8.2.2).
func http2Problem(r *http.Request, server *policy.Server) (status int, detail string) {
	for _, host := range r.Header["Host"] {
		if !strings.EqualFold(host, r.Host) {
			return http.StatusBadRequest, "Host differs from :authority"
		}
	}
	delete(r.Header, "Host") // as in HTTP/1.1, where it is r.Host alone
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		if len(r.Header[name]) > 0 {
			return http.StatusBadRequest, "a header field that HTTP/2 does not allow"
		}
	}
	if slices.ContainsFunc(r.Header["Te"], func(te string) bool { return !strings.EqualFold(te, "trailers") }) {
		return http.StatusBadRequest, "a header field that HTTP/2 does not allow"
	}
	if slices.ContainsFunc(r.Header["Expect"], func(what string) bool { return !strings.EqualFold(what, "100-continue") }) {
		return http.StatusExpectationFailed, "only 100-continue can be expected"
	}
	if strings.ContainsFunc(r.RequestURI, func(c rune) bool { return c <= ' ' || c > '~' || c == '#' }) {
		return http.StatusBadRequest, "the target is malformed"
	}
	return tooLarge(r, server)
}

// tooLarge finds heads of HTTP/2 that upstreams refuse.
func tooLarge(r *http.Request, server *policy.Server) (status int, detail string) {
	if len(r.RequestURI) > int(server.MaxTarget) {
		return http.StatusRequestURITooLong, "the target is too long"
	}
	fields := 1 // Host
	for name, values := range r.Header {
		fields += len(values)
		for _, v := range values {
			if len(name)+len(": ")+len(v) > int(server.MaxField) {
				return http.StatusRequestHeaderFieldsTooLarge, "a header field is too long"
			}
		}
	}
	if fields > server.MaxFields {
		return http.StatusRequestHeaderFieldsTooLarge, "too many header fields"
	}
	return 0, ""
}

// wellFormedMethod accepts upper-case methods, known or not: an unknown one must also reach the
// upstream and invalidate stored responses (RFC 9111, 4.4).
func wellFormedMethod(m string) bool {
	for i := range len(m) {
		if c := m[i]; (c < 'A' || c > 'Z') && (c != '-' || i == 0) {
			return false
		}
	}
	return m != "" && len(m) <= 32
}

// strip removes names that the upstream could take for the gateway's own: X-Gw-*, the identity
// header, and every name with an underscore, which WSGI servers cannot tell from a hyphen.
func strip(h http.Header, identity string) {
	for name := range h {
		if strings.HasPrefix(name, "X-Gw-") || strings.EqualFold(name, identity) || strings.Contains(name, "_") {
			delete(h, name)
		}
	}
}

// wellFormedHost accepts a name or an address with or without a port, or an empty host. net/http
// allows more, which upstreams would put into links.
func wellFormedHost(hostport string) bool {
	host := hostport
	if colon := strings.LastIndexByte(hostport, ':'); colon > strings.LastIndexByte(hostport, ']') {
		if _, err := strconv.ParseUint(hostport[colon+1:], 10, 16); err != nil && hostport[colon+1:] != "" {
			return false
		}
		host = hostport[:colon]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	for i := range len(host) {
		if !unreserved(host[i]) || host[i] == '~' {
			return false
		}
	}
	return host != "" || hostport == ""
}
