package rfc9111

import (
	"net/url"
	"slices"
	"strings"

	"github.com/dunglas/httpsfv"
)

// SearchRule says which differences between two queries are ignored, as stated by No-Vary-Search
// (draft-ietf-httpbis-no-vary-search, 4). The zero value is the default: none.
type SearchRule struct {
	AnyOrder bool     // ignore the order of parameters with different names
	All      bool     // only the parameters in Names matter; if false, all except those
	Names    []string // decoded, sorted
}

// maxSearchNames bounds the names of one rule.
const maxSearchNames = 64

// ParseSearchRule reads the lines of No-Vary-Search, a Dictionary (draft, 3). A malformed field, or
// one with too many names, gives the default.
func ParseSearchRule(lines []string) SearchRule {
	if len(lines) == 0 {
		return SearchRule{}
	}
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return SearchRule{}
	}
	var r SearchRule
	if m, ok := dict.Get("key-order"); ok {
		if r.AnyOrder, ok = boolean(m); !ok {
			return SearchRule{}
		}
	}
	params, hasParams := dict.Get("params")
	if hasParams {
		all, isFlag := boolean(params)
		names, isList := texts(params)
		if !isFlag && !isList {
			return SearchRule{}
		}
		r.All, r.Names = all, names
	}
	if except, ok := dict.Get("except"); ok {
		names, isList := texts(except)
		if !isList || !r.All {
			return SearchRule{}
		}
		r.Names = names
	}
	return r
}

func boolean(m httpsfv.Member) (value, ok bool) {
	item, _ := m.(httpsfv.Item)
	value, ok = item.Value.(bool)
	return value, ok
}

func texts(m httpsfv.Member) (names []string, ok bool) {
	list, ok := m.(httpsfv.InnerList)
	if !ok || len(list.Items) > maxSearchNames {
		return nil, false
	}
	for _, item := range list.Items {
		name, ok := item.Value.(string)
		if !ok {
			return nil, false
		}
		names = append(names, decodeName(name))
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// Default reports whether every difference matters.
func (r SearchRule) Default() bool { return !r.AnyOrder && !r.All && len(r.Names) == 0 }

// Text returns the rule in a canonical form: equal texts are equal rules.
func (r SearchRule) Text() string {
	if r.Default() {
		return ""
	}
	var b strings.Builder
	for i, set := range [...]bool{r.AnyOrder, r.All} {
		if set {
			b.WriteByte("oa"[i])
		}
	}
	for _, name := range r.Names {
		b.WriteByte(' ')
		b.WriteString(url.QueryEscape(name))
	}
	return b.String()
}

// Apply normalises a raw query: two queries whose results are equal are
// equivalent (draft, 5.1). Names and values are compared decoded.
func (r SearchRule) Apply(query string) string {
	if r.Default() {
		return query
	}
	type parameter struct{ name, value string }
	var kept []parameter
	for piece := range strings.SplitSeq(query, "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		name = decodeName(name)
		if _, named := slices.BinarySearch(r.Names, name); named == r.All {
			kept = append(kept, parameter{name, decodeName(value)})
		}
	}
	if r.AnyOrder {
		slices.SortStableFunc(kept, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	}
	var b strings.Builder
	for _, p := range kept {
		b.WriteString(url.QueryEscape(p.name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(p.value))
		b.WriteByte('&')
	}
	return b.String()
}

// decodeName decodes a name or value of a query; malformed ones are returned unchanged.
func decodeName(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}
