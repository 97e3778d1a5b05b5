package rfc9111

import (
	"net/http"
	"strings"
)

// MaxCodings is the most content codings that PreferredCoding chooses from.
const MaxCodings = 8

// PreferredCoding returns the index of the content coding that Accept-Encoding prefers, or -1 for
// identity. codings are those that the server has, in its order of preference and in lower case.
// identity says whether identity would be acceptable (RFC 9110, 12.5.3). Among equal weights the
// server's order decides, and identity comes last. Without the field every coding is acceptable,
// but the result is identity: many clients that do not send the field cannot decode any.
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

// indexOfCoding finds a coding by its name, with or without the old prefix x- (RFC 9110, 8.4.1.3).
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

// NoTransform reports whether a response forbids intermediaries to transform its content (RFC 9110,
// 7.7; RFC 9111, 5.2.2.6). Only Cache-Control counts: the directive is not addressed to one kind of
// cache.
func NoTransform(h http.Header) bool {
	return ParseCacheControl(h["Cache-Control"]).NoTransform
}
