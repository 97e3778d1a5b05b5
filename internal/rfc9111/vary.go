package rfc9111

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// VariesOnAll reports whether Vary has the member *, so that no other request matches (RFC 9111,
// 4.1).
func VariesOnAll(h http.Header) bool {
	return slices.ContainsFunc(h["Vary"], func(line string) bool {
		return slices.Contains(fieldNames(line), "*")
	})
}

// Varies reports whether a response's Vary includes the request field with this canonical name.
func Varies(h http.Header, name string) bool {
	return VariesOnAll(h) || slices.Contains(VaryNames(h), name)
}

// AddVary adds a request field to a response's Vary unless it is included. It leaves existing lines
// unchanged, since they may belong to a stored response.
func AddVary(h http.Header, name string) {
	if !Varies(h, name) {
		h["Vary"] = append(slices.Clip(h["Vary"]), name)
	}
}

// VaryNames returns the request fields that selected a response (RFC 9110, 12.5.5), canonical,
// sorted and unique.
func VaryNames(h http.Header) []string {
	var names []string
	for _, line := range h["Vary"] {
		names = append(names, fieldNames(line)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// fieldNames splits a list of field names.
func fieldNames(line string) (names []string) {
	for name := range strings.SplitSeq(line, ",") {
		if name = trim(name); name != "" {
			names = append(names, canonical(name))
		}
	}
	return names
}

// absent is the selecting value of an absent field; no present field can have it.
const absent = "\x00"

// Selecting returns the value by which the named request field selects a variant (RFC 9111, 4.1).
// Requests with the same value match. Lines are combined, and whitespace around commas is dropped.
// For Accept-Encoding and Accept-Language, case and the order within one weight are dropped too.
// The result may be sent in place of the values. An absent field differs from any present one.
func Selecting(name string, values []string) string {
	if len(values) == 0 {
		return absent
	}
	if name == "Cookie" { // not a list, but it may come in several lines
		return trim(strings.Join(values, "; "))
	}
	weighted := name == "Accept-Encoding" || name == "Accept-Language"
	if len(values) == 1 && !strings.Contains(values[0], ",") && (!weighted || plain(values[0])) {
		return trim(values[0])
	}
	if weighted {
		return preferences(values)
	}
	var items []string
	for _, line := range values {
		for item := range strings.SplitSeq(line, ",") {
			items = append(items, trim(item))
		}
	}
	return strings.Join(items, ",")
}

// plain reports whether a single member is already in the form that preferences returns.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == ';' || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}

// choice is one member of a weighted list; the weight is in thousandths.
type choice struct {
	name   string
	weight int
}

// preferences normalises a list with weights (RFC 9110, 12.4.2), the highest weight first.
func preferences(values []string) string {
	var list []choice
	for _, line := range values {
		for item := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(item, ";")
			if name = strings.ToLower(trim(name)); name != "" {
				list = append(list, choice{name, weight(params)})
			}
		}
	}
	slices.SortFunc(list, func(a, b choice) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), strings.Compare(a.name, b.name))
	})
	var b []byte
	for i, c := range slices.Compact(list) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, c.name...)
		if c.weight < 1000 {
			b = append(b, ";q="...)
			b = strconv.AppendFloat(b, float64(c.weight)/1000, 'f', -1, 64)
		}
	}
	return string(b)
}

// weight reads a quality value in thousandths; an invalid one counts as 1000.
func weight(params string) int {
	q, ok := strings.CutPrefix(strings.ToLower(trim(params)), "q=")
	if !ok || q == "" || len(q) > 5 || q[0] != '0' && q[0] != '1' || len(q) > 1 && q[1] != '.' {
		return 1000
	}
	n := int(q[0]-'0') * 1000
	for i, unit := 2, 100; i < len(q); i, unit = i+1, unit/10 {
		if q[i] < '0' || q[i] > '9' {
			return 1000
		}
		n += int(q[i]-'0') * unit
	}
	return min(n, 1000)
}
