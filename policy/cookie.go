package policy

import (
	"iter"
	"net/http"
	"strings"
)

// Cookies gives the cookies of a request in order, as all that decides by them
// reads them, and as a request that fills a cache says them. Pairs are split at
// semicolons and trimmed of spaces and tabs; one without = has an empty value. A
// pair whose name is no token, or which holds a control byte, is left out: what an
// upstream reads of that is anybody's guess (RFC 6265, 4.1.1 and 5.4). Values stay
// as they are, quotes, commas and UTF-8 too.
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

// PlainCookie reports whether all readers read a cookie's value alike: it has nothing
// that some take for a quote or a separator (RFC 6265, 4.1.1, cookie-octet).
func PlainCookie(value string) bool {
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == '\\' {
			return false
		}
	}
	return true
}

// SameCookie reports whether some upstream takes one name of a cookie for another:
// ASP.NET knows no case, and to PHP a dot is an underscore.
func SameCookie(a, b string) bool {
	return a == b || strings.EqualFold(strings.ReplaceAll(a, ".", "_"), strings.ReplaceAll(b, ".", "_"))
}

// CookieValues gives the values of all cookies of that name in a request.
func CookieValues(h Fields, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for n, value := range Cookies(h) {
			if n == name && !yield(value) {
				return
			}
		}
	}
}

// FilterCookies removes the cookies of a request that keep refuses by name and
// value. What stays keeps its order and its bytes. Names are read as the most lenient
// upstream does, without what stands around them that no name may hold.
func FilterCookies(h http.Header, keep func(name, value string) bool) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
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
	kept := make([]string, 0, len(pairs))
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		if keep(strings.TrimFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }), value) {
			kept = append(kept, pair)
		}
	}
	if len(kept) == len(pairs) {
		return line
	}
	return strings.TrimSpace(strings.Join(kept, ";"))
}
