package policy

import (
	"iter"
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
