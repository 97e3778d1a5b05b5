package middleware

import (
	"cmp"
	"net/url"
	"strings"
	"unicode/utf8"
)

const (
	upperHex = "0123456789ABCDEF"
	toEscape = "\"<>^`{|}" // printable, and in no path (RFC 3986, 3.3)
)

// SentPath is a URL's path as it was written. [url.URL.EscapedPath] decodes %2F where the path also holds
// a character that ought to be escaped.
func SentPath(u *url.URL) string { return cmp.Or(u.RawPath, u.EscapedPath()) }

// CanonicalPath returns the one form of an escaped path that is matched, keyed and forwarded:
// unreserved characters are literal, and other escapes have upper-case digits (RFC 3986, 6.2.2);
// characters of ASCII that ought to be escaped are. A
// path that two programs could read differently has no such form, and problem says why: an encoded
// slash, a backslash, a semicolon (servers with path parameters drop the rest of the segment, so
// patterns would not hold), a control character, an empty or dot segment, or bytes that are not
// UTF-8. All that is not ASCII must be escaped. With decode, an encoded slash is a slash.
func CanonicalPath(escaped string, decode bool) (path, problem string) {
	if escaped == "" || escaped[0] != '/' {
		return "", "the path does not start with a slash"
	}
	plain := true
	for i := range len(escaped) {
		switch c := escaped[i]; {
		case c < 0x21 || c > 0x7e:
			return "", "the path holds a character that must be escaped"
		case c == '%' || c == '\\' || c == ';' || strings.IndexByte(toEscape, c) >= 0:
			plain = false
		}
	}
	if plain && !hasBadSegment(escaped) {
		return escaped, ""
	}
	var canonical, decoded strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c != '%' {
			switch c {
			case '\\':
				return "", "the path holds a backslash"
			case ';':
				return "", "the path holds a semicolon"
			}
			decoded.WriteByte(c)
			if strings.IndexByte(toEscape, c) >= 0 {
				canonical.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
			} else {
				canonical.WriteByte(c)
			}
			continue
		}
		if i+2 >= len(escaped) || unhex(escaped[i+1]) < 0 || unhex(escaped[i+2]) < 0 {
			return "", "the path holds a malformed escape"
		}
		b := byte(unhex(escaped[i+1])<<4 | unhex(escaped[i+2]))
		i += 2
		switch {
		case b == '\\' || b == '/' && !decode:
			return "", "the path holds an encoded slash or backslash"
		case b == '/':
			canonical.WriteByte(b)
		case unreserved(b):
			canonical.WriteByte(b)
		default:
			canonical.Write([]byte{'%', upperHex[b>>4], upperHex[b&15]})
		}
		decoded.WriteByte(b)
	}
	if !printable(decoded.String()) {
		return "", "the path holds a control character or is not UTF-8"
	}
	if path = canonical.String(); hasBadSegment(path) {
		return "", "the path holds an empty or dot segment"
	}
	return path, ""
}

// hasBadSegment reports an empty segment before the last, or a dot segment.
func hasBadSegment(path string) bool {
	for rest, more := path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "." || segment == ".." || segment == "" && more {
			return true
		}
	}
	return false
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// unreserved implements RFC 3986, 2.3.
func unreserved(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
		b == '-' || b == '.' || b == '_' || b == '~'
}

func unhex(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}

// maxParameters bounds a query well below 1,000 parameters, where form parsers begin to drop some.
const maxParameters = 512

// queryProblem says what is wrong with a raw query, or "". Parsers disagree on semicolons and
// malformed escapes: some drop the pair, some the whole query.
func queryProblem(raw string) string {
	parameters := 1
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '&':
			parameters++
		case c == ';':
			return "the query holds a semicolon"
		case c < 0x21 || c > 0x7e:
			return "the query holds a character that must be escaped"
		case c == '%':
			if i+2 >= len(raw) || unhex(raw[i+1]) < 0 || unhex(raw[i+2]) < 0 {
				return "the query holds a malformed escape"
			}
		}
	}
	if parameters > maxParameters {
		return "the query has too many parameters"
	}
	return ""
}
