package policy

import (
	"fmt"
	"net"
	"strings"
	"unicode"
)

// index names an item of a list.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// isToken implements token of RFC 9110, 5.6.2: names of headers, methods and
// cookies.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
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

// addressProblem says why a listen address is none: host:port or unix:path.
func addressProblem(address string) string {
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		if socket == "" {
			return "unix: without a path"
		}
		return ""
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return "write host:port, :port or unix:/path"
	case !isPort(port):
		return "bad port"
	case host != "" && !isHost(host):
		return "bad host"
	}
	return ""
}
