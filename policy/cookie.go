package policy

import (
	"iter"
	"net/http"
	"strings"
)

// CookieValues gives the values of all cookies of that name in a request, in
// order and byte for byte. It reads the Cookie fields leniently, as upstreams
// do: a cookie without = has an empty value.
func CookieValues(h Fields, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h.Values("Cookie") {
			for pair := range strings.SplitSeq(line, ";") {
				if n, value, _ := strings.Cut(pair, "="); strings.TrimSpace(n) == name && !yield(value) {
					return
				}
			}
		}
	}
}

// FilterCookies removes the cookies of a request that keep refuses. What stays
// keeps its order and its bytes. Names are read as the most lenient upstream does,
// without what stands around them that no name may hold.
func FilterCookies(h http.Header, keep func(name string) bool) {
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

func filterLine(line string, keep func(name string) bool) string {
	pairs := strings.Split(line, ";")
	kept := make([]string, 0, len(pairs))
	for _, pair := range pairs {
		name, _, _ := strings.Cut(pair, "=")
		if keep(strings.TrimFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })) {
			kept = append(kept, pair)
		}
	}
	if len(kept) == len(pairs) {
		return line
	}
	return strings.TrimSpace(strings.Join(kept, ";"))
}
