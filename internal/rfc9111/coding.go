package rfc9111

import (
	"net/http"
	"strings"
)

// MaxCodings is how many content codings PreferredCoding chooses from.
const MaxCodings = 8

// PreferredCoding returns which of the content codings that a server has, in its
// own order of preference and in lower case, Accept-Encoding wants most: an
// index, or -1 for none of them, identity. identity says whether that would be
// acceptable (RFC 9110, 12.5.3). Of equal weights the server's order decides,
// with identity last unless the field gives it a greater weight. Without the field
// every coding is acceptable, and the answer is identity: who does not speak of
// codings often reads none.
func PreferredCoding(values, codings []string) (coding int, identity bool) {
	const unsaid = -1
	var weights [MaxCodings]int
	for i := range weights {
		weights[i] = unsaid
	}
	plain, star := unsaid, unsaid
	for _, line := range values {
		for line != "" {
			var item string
			item, line, _ = strings.Cut(line, ",")
			name, params, _ := strings.Cut(item, ";")
			switch name = trim(name); {
			case name == "*":
				star = weight(params)
			case strings.EqualFold(name, "identity"):
				plain = weight(params)
			default:
				if i := indexOfCoding(codings, name); i >= 0 {
					weights[i] = weight(params)
				}
			}
		}
	}
	if plain == unsaid {
		plain = star
	}
	coding, best := -1, 0
	for i := range codings {
		w := weights[i]
		if w == unsaid {
			w = star
		}
		if w > best {
			coding, best = i, w
		}
	}
	if plain > best {
		coding = -1
	}
	return coding, plain != 0
}

// indexOfCoding finds a coding by its name, or by the older one with x- (RFC
// 9110, 8.4.1.3).
func indexOfCoding(codings []string, name string) int {
	if len(name) > 2 && (name[0] == 'x' || name[0] == 'X') && name[1] == '-' {
		name = name[2:]
	}
	for i, coding := range codings {
		if strings.EqualFold(name, coding) {
			return i
		}
	}
	return -1
}

// NoTransform reports whether a response forbids intermediaries to change its
// content (RFC 9110, 7.7; RFC 9111, 5.2.2.6). It is Cache-Control that says so:
// the directive is not for caches of one kind.
func NoTransform(h http.Header) bool {
	return ParseCacheControl(h["Cache-Control"]).NoTransform
}
