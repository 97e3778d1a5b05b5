package policy

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// checks are those of the check tags.
var checks = map[string]func(key, value string) string{
	"positive":  unless(func(value string) bool { return value != "0" }, "%[1]s must be more than 0s"),
	"filled":    unless(func(value string) bool { return value != "" }, "%[1]s must not be empty"),
	"header":    unless(isFieldName, "bad header name %[2]q"),
	"name":      because(nameProblem, "bad name %[2]q: %[3]s"),
	"email":     unless(isEmail, "bad email address %[2]q"),
	"https":     unless(isHTTPS, "bad URL %[2]q (write https://host/path)"),
	"host":      unless(isHost, "bad host %[2]q (a name or an address, without scheme and port)"),
	"path":      unless(isRequestPath, "bad path %[2]q (must start with /)"),
	"websocket": unless(func(value string) bool { return value == "websocket" }, "expected websocket, found %[2]q"),
	"method":    because(methodProblem, "%[3]s"),
	"address":   because(addressProblem, "bad address %[2]q: %[3]s"),
	"target":    because(targetProblem, "bad target: %[3]s (write http://host:port)"),
	"origin":    because(originProblem, "bad origin %[2]q: %[3]s"),
}

// because makes a check from a function that says why a value is invalid. The message gets
// the key, the value and the reason.
func because(problem func(value string) string, message string) func(key, value string) string {
	return func(key, value string) string {
		if why := problem(value); why != "" {
			return fmt.Sprintf(message, key, yamlfile.Clip(value), why)
		}
		return ""
	}
}

// unless makes a check from a function that recognises valid values.
func unless(good func(value string) bool, message string) func(key, value string) string {
	return because(func(value string) string { return map[bool]string{false: "bad"}[good(value)] }, message)
}

// isFieldName reports whether s names a single field.
func isFieldName(s string) bool { return isToken(s) && s != "*" }

func isRequestPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsAny(s, " \t#")
}

// isToken implements token of RFC 9110, 5.6.2: names of headers, methods and
// cookies.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

// isIdentifier reports whether s may name a path value: a Go identifier, as in
// ServeMux patterns.
func isIdentifier(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != ""
}

// methodProblem says why a method cannot be served. Unknown methods are valid HTTP.
func methodProblem(method string) string {
	upper := strings.ToUpper(method)
	switch {
	case !isToken(method) || strings.Trim(upper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "":
		return fmt.Sprintf("bad method %q", yamlfile.Clip(method))
	case method != upper:
		return fmt.Sprintf("bad method %q (did you mean %q?)", yamlfile.Clip(method), yamlfile.Clip(upper))
	case method == "CONNECT" || method == "TRACE":
		return method + " is never served"
	}
	return ""
}

// addressProblem says why a listen address is invalid: it is host:port, unix:path or systemd:name.
func addressProblem(address string) string {
	socket, unix := strings.CutPrefix(address, "unix:")
	name, passed := strings.CutPrefix(address, "systemd:")
	host, port, err := net.SplitHostPort(address)
	switch {
	case unix && socket == "":
		return "unix: without a path"
	case passed && (name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' })):
		return "systemd: without a name"
	case unix || passed:
		return ""
	case err != nil:
		return "write host:port, :port, unix:/path or systemd:NAME"
	case !isPort(port):
		return "bad port"
	case host != "" && !isHost(host):
		return "bad host"
	}
	return ""
}

// peersProblem says why server.peers is invalid. The other gateways connect to this
// address, so it must work from their machines.
func peersProblem(s *Server) string {
	host, port, err := net.SplitHostPort(s.Peers)
	ip, notAddress := netip.ParseAddr(host)
	switch {
	case err != nil || host == "":
		return "write host:port, as the other gateways reach it"
	case !isPort(port):
		return "bad port"
	case !isHost(host) && notAddress != nil:
		return "bad host"
	case notAddress == nil && ip.IsUnspecified():
		return "the other gateways cannot reach it; name an address of this machine"
	case port != "0" && (slices.Contains(s.Listen, s.Peers) || s.Peers == s.Admin):
		return "listen or admin has it"
	}
	return ""
}

// targetProblem says why an upstream's target is invalid, without repeating a password in
// it.
func targetProblem(target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return "not a URL"
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c":
		return "its scheme is none of http, https and h2c"
	case u.User != nil:
		return "it holds a user name or password"
	case u.Hostname() == "" || strings.Contains(u.Host, ","):
		return "it names no host"
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(target, "#"):
		return "it has a path or query"
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && !isPort(u.Port()):
		return "bad port"
	}
	return ""
}

// originProblem says why an origin (RFC 6454, 6.2) with at most one * is invalid.
func originProblem(origin string) string {
	scheme, host, ok := strings.Cut(origin, "://")
	name, port, hasPort := strings.Cut(host, ":")
	switch {
	case origin == "*":
		return "the origins must be named; one * may stand in a host"
	case !ok || scheme != "http" && scheme != "https":
		return "write https://host"
	case strings.Count(name, "*") > 1 || !isHost(strings.Replace(name, "*", "x", 1)) || name != strings.ToLower(name):
		return "bad host (lower case, without path, at most one *)"
	case name == "*":
		return "a * for a whole host"
	case hasPort && !isPort(port):
		return "bad port"
	}
	return ""
}

// nameProblem says why an ACME server would give no certificate for a name.
func nameProblem(name string) string {
	_, notAddress := netip.ParseAddr(strings.Trim(name, "[]"))
	switch {
	case strings.HasPrefix(name, "*."):
		return "a wildcard needs DNS-01, which is not supported; name each host, or use certificates in files"
	case notAddress == nil:
		return "an address; only names get certificates"
	case !isHost(name) || strings.Contains(name, "_"):
		return "write a host name, without scheme and port"
	}
	return ""
}

func isEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s
}

func isHTTPS(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil
}

func isHost(s string) bool {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Zone() == ""
	}
	return s != "" && len(s) <= 253 && !strings.HasPrefix(s, ".") && !strings.Contains(s, "..") &&
		strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n <= 65535 && strconv.Itoa(n) == s
}
