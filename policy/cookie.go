package policy

import "strings"

// CookieValue returns the first cookie of that name in a request, or "". It reads
// the Cookie fields leniently, as browsers and upstreams write them.
func CookieValue(h Fields, name string) string {
	for _, line := range h.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			n, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if ok && n == name {
				return v
			}
		}
	}
	return ""
}
