package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jewgo/gateway/policy"
)

// werkzeugRule is a route on both sides.
type werkzeugRule struct {
	name    string
	rule    string // in werkzeug's syntax, of which the pattern is made
	methods []string
	slashes bool     // strict_slashes
	deny    bool     // the gateway must not forward it
	cached  bool     // with all parameters, unless there is one of these:
	allow   []string // only these
	drop    []string // all but these
	round   string   // this one is rounded to 3 decimals
	inOrder bool
}

var (
	readMethods   = []string{"GET", "HEAD"}
	werkzeugVerbs = []string{"GET", "HEAD", "POST", "PUT", "DELETE"}
)

// werkzeugRules have the shape of JewGo's, with denied endpoints among the open ones.
var werkzeugRules = []*werkzeugRule{
	{name: "home", rule: "/", methods: readMethods, cached: true, slashes: true},
	{name: "list", rule: "/api/v5/restaurants", methods: readMethods, cached: true, allow: []string{"search", "page", "tag", "lat"}, round: "lat"},
	{name: "create", rule: "/api/v5/restaurants", methods: []string{"POST"}},
	{name: "filters", rule: "/api/v5/restaurants/filter-options", methods: readMethods, cached: true, allow: []string{}},
	{name: "export", rule: "/api/v5/restaurants/export", methods: werkzeugVerbs, deny: true},
	{name: "detail", rule: "/api/v5/restaurants/<int:id>", methods: readMethods, cached: true, drop: []string{"utm_source", "fbclid"}},
	{name: "update", rule: "/api/v5/restaurants/<int:id>", methods: []string{"PUT", "DELETE"}},
	{name: "hours", rule: "/api/v5/restaurants/<int:id>/hours", methods: readMethods, cached: true},
	{name: "review", rule: "/api/v5/restaurants/<int:id>/reviews/<review>", methods: readMethods, cached: true, allow: []string{"page"}},
	{name: "debug", rule: "/api/v5/debug/<path:rest>", methods: werkzeugVerbs, deny: true},
	{name: "shop", rule: "/shop/<slug>", methods: readMethods, cached: true, allow: []string{"search", "page", "a b", "é"}},
	{name: "shop-admin", rule: "/shop/<slug>/admin", methods: werkzeugVerbs, deny: true},
	{name: "files", rule: "/files/<path:rest>", methods: readMethods, cached: true, inOrder: true},
	{name: "private", rule: "/files/private/<path:rest>", methods: werkzeugVerbs, deny: true},
	{name: "docs", rule: "/docs/", methods: readMethods, cached: true, drop: []string{"utm_source"}},
	{name: "reports", rule: "/reports/", methods: readMethods, cached: true, slashes: true, allow: []string{"page"}},
	{name: "secret", rule: "/secret", methods: werkzeugVerbs, deny: true},
}

// werkzeugRest is the route of all other requests, for which werkzeug has no endpoint.
var werkzeugRest = &werkzeugRule{name: "rest"}

// patterns are the policy's patterns of a rule. Without strict_slashes, werkzeug also takes a path with
// one slash more or less at its end.
func (r *werkzeugRule) patterns() []string {
	p := strings.NewReplacer("<int:", "{", "<path:rest>", "{rest...}", "<", "{", ">", "}").Replace(r.rule)
	bare, slash := strings.CutSuffix(p, "/")
	switch {
	case r.slashes && slash:
		return []string{p + "{$}"}
	case r.slashes || strings.Contains(p, "..."):
		return []string{p}
	}
	return []string{bare, bare + "/{$}"}
}

// routes are the policy's routes of a rule, which differ in a number after the name.
func (r *werkzeugRule) routes() string {
	does := "upstream: app"
	if r.deny {
		does = "deny: 404"
	}
	if r.cached {
		query := "sort: " + strconv.FormatBool(!r.inOrder)
		if r.allow != nil {
			query += fmt.Sprintf(", allow: [%s]", strings.Join(r.allow, ", "))
		}
		if r.drop != nil {
			query += fmt.Sprintf(", deny: [%s]", strings.Join(r.drop, ", "))
		}
		if r.round != "" {
			query += fmt.Sprintf(", round: {%s: 3}", r.round)
		}
		does += fmt.Sprintf(", cache: {ttl: 1h, query: {%s}}", query)
	}
	var all strings.Builder
	for i, p := range r.patterns() {
		fmt.Fprintf(&all, "  - {name: %s-%d, match: {methods: [%s], path: %q}, %s}\n", r.name, i, strings.Join(r.methods, ", "), p, does)
	}
	return all.String()
}

// disagrees says how werkzeug's reading differs from a match of the rule with these path values.
func (r *werkzeugRule) disagrees(params policy.Params, got reading) string {
	none := r == werkzeugRest
	want := map[string]string{}
	for _, p := range params {
		want[p.Name] = p.Value
		switch {
		case strings.Contains(r.rule, "<int:"+p.Name+">"):
			number, ok := numberOf(p.Value)
			want[p.Name], none = number, none || !ok // such a detail does not exist
		case strings.Contains(r.rule, "<path:"+p.Name+">"):
			none = none || p.Value == ""
		}
	}
	switch {
	case none && !slices.Contains([]string{"(none)", "(method)", "(redirect)"}, got.endpoint):
		return "it reaches an endpoint, and should none"
	case !none && got.endpoint != r.name:
		return "it reaches another endpoint"
	case !none && !maps.Equal(got.arguments, want):
		return fmt.Sprintf("its arguments should be %q", want)
	}
	return ""
}

// numberOf reads digits as Python does, for which those of every script are digits.
func numberOf(s string) (string, bool) {
	var b strings.Builder
	for _, c := range s {
		if !unicode.Is(unicode.Nd, c) {
			return "", false
		}
		b.WriteByte('0' + digitOf(c))
	}
	number := strings.TrimLeft(b.String(), "0")
	if number == "" {
		number = "0"
	}
	return number, s != ""
}

// digitOf relies on the runs of decimal digits in Unicode, which begin with a zero.
func digitOf(c rune) byte {
	for _, r := range unicode.Nd.R16 {
		if rune(r.Lo) <= c && c <= rune(r.Hi) {
			return byte((c - rune(r.Lo)) % 10)
		}
	}
	for _, r := range unicode.Nd.R32 {
		if rune(r.Lo) <= c && c <= rune(r.Hi) {
			return byte((c - rune(r.Lo)) % 10)
		}
	}
	return 0
}

// declares reports whether a cached route sends a parameter.
func (r *werkzeugRule) declares(name string) bool {
	return (r.allow == nil || slices.Contains(r.allow, name)) && !slices.Contains(r.drop, name)
}

// declared are the values of each declared parameter, in order. Decimal numbers that are rounded are so
// here too; other numbers must arrive as they came.
func (r *werkzeugRule) declared(got reading) map[string][]string {
	values := map[string][]string{}
	for _, pair := range got.query {
		name, value := pair[0], pair[1]
		if !r.declares(name) {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); name == r.round && err == nil && strings.Trim(value, "0123456789.+-eE") == "" && math.Abs(v) < 1e15 {
			value = strconv.FormatFloat(v, 'f', 3, 64)
			if v == 0 || value == "-0.000" {
				value = "0.000"
			}
		}
		values[name] = append(values[name], value)
	}
	return values
}

// meaning is all that a response may depend on.
func (r *werkzeugRule) meaning(got reading) string {
	return fmt.Sprintf("%s %q %q", got.endpoint, got.arguments, r.declared(got))
}
