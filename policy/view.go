package policy

import (
	"iter"
	"net"
	"net/http"
	"net/netip"
	"slices"
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

// View is what decisions see of a request. Routes, limits and the cache decide by a View
// alone, never by an *http.Request, so that net/http's handler chain and a test get the same
// answer.
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

// HostOf returns the View.Host of a Host header or an authority.
func HostOf(authority string) string {
	host := authority
	if strings.IndexByte(authority, ':') >= 0 { // an error of SplitHostPort costs an allocation
		if h, _, err := net.SplitHostPort(authority); err == nil {
			host = h
		}
	}
	return NormalHost(host)
}

// NormalHost returns a host without port as View.Host has it: lower case, without
// the brackets of an IPv6 address and without a final dot.
func NormalHost(host string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// untrusted are headers by which a client could pose as a proxy: addresses, targets and
// methods that backends prefer to the request's own, and Proxy, which CGI takes for a
// setting of its own.
var untrusted = set([]string{
	"Forwarded", "X-Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Client-Ip",
	"Cf-Connecting-Ip", "X-Original-Forwarded-For", "X-Original-Host", "X-Original-Url", "X-Original-Uri",
	"X-Rewrite-Url", "X-Host", "X-Http-Host-Override", "X-Script-Name", "X-Scheme", "X-Url-Scheme", "Front-End-Https",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "Proxy", "Http2-Settings",
})

// StaysBehind reports whether the client's field of that canonical name never goes
// upstream, in the head or as a trailer: the gateway's own names, those by which a
// client could speak for a proxy, and those with an underscore, since WSGI servers
// cannot tell it from a hyphen.
func StaysBehind(name string) bool {
	return strings.HasPrefix(name, "X-Gw-") || strings.HasPrefix(name, "X-Forwarded-") || strings.Contains(name, "_") || untrusted[name]
}

// Cookies returns the cookies of a request in order. All decisions read cookies this way,
// and a request that fills a cache sends them this way. Pairs are split at semicolons and
// trimmed of spaces and tabs; one without = has an empty value. Pairs whose name is not a
// token, or with a control byte, are left out, since upstreams read them differently
// (RFC 6265, 4.1.1 and 5.4). Values stay as they are, with quotes, commas and UTF-8.
func Cookies(h Fields) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, line := range h.Values("Cookie") {
			for pair := range strings.SplitSeq(line, ";") {
				name, value, _ := strings.Cut(pair, "=")
				name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
				if isToken(name) && !hasControl(value) && !yield(name, value) {
					return
				}
			}
		}
	}
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// PlainCookie reports whether all servers read a cookie's value alike: it has no character
// that some take for a quote or a separator (RFC 6265, 4.1.1, cookie-octet).
func PlainCookie(value string) bool {
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == '\\' {
			return false
		}
	}
	return true
}

// SameCookie reports whether some upstreams take the two names of cookies for one: ASP.NET
// ignores case, and PHP reads a dot as an underscore.
func SameCookie(a, b string) bool {
	return a == b || strings.EqualFold(strings.ReplaceAll(a, ".", "_"), strings.ReplaceAll(b, ".", "_"))
}

// CookieValues returns the values of all cookies of that name in a request.
func CookieValues(h Fields, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for n, value := range Cookies(h) {
			if n == name && !yield(value) {
				return
			}
		}
	}
}

// FilterCookies removes the cookies of a request for which keep is false. The others keep
// their order and their bytes. Names are read like the most lenient upstream does: without
// characters around them that no name may have.
func FilterCookies(h http.Header, keep func(name, value string) bool) {
	var kept []string
	for _, line := range h["Cookie"] {
		if line = filterLine(line, keep); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func filterLine(line string, keep func(name, value string) bool) string {
	pairs := strings.Split(line, ";")
	kept := slices.DeleteFunc(slices.Clone(pairs), func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		return !keep(strings.TrimFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }), value)
	})
	if len(kept) == len(pairs) {
		return line
	}
	return strings.TrimSpace(strings.Join(kept, ";"))
}
