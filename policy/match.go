package policy

import (
	"slices"
	"strings"
)

// table finds the route of a request. It branches by host, then method, then
// path segment. Since conflicting patterns are refused, the first route found
// by trying the more specific branch first is the most specific one.
type table map[string]methodTable // by host, "" for routes without one

type methodTable map[string]*node // by method, "" for routes without methods

// node stands for a path prefix.
type node struct {
	literals map[string]*node
	wildcard *node
	slash    []*Route // {$} here
	rest     []*Route // {name...} or a final slash here
	end      []*Route // the pattern ends here
}

type headerMatch struct{ name, value string }

// newTable expects routes in file order, which decides among equal patterns.
func newTable(routes []*Route) table {
	t := table{}
	for _, r := range routes {
		m := t[r.Host]
		for _, method := range r.specificMethods() {
			child(&m, method).add(r, r.pattern.segments)
		}
		t[r.Host] = m
	}
	return t
}

// child returns the branch of that name, and makes it if there is none.
func child[M ~map[string]*node](branches *M, name string) *node {
	if *branches == nil {
		*branches = M{}
	}
	if (*branches)[name] == nil {
		(*branches)[name] = &node{}
	}
	return (*branches)[name]
}

// specificMethods gives the methods under which a route is found: "" for any,
// and no HEAD beside GET, which implies it.
func (r *Route) specificMethods() []string {
	if len(r.Methods) == 0 {
		return []string{""}
	}
	if slices.Contains(r.Methods, "GET") {
		return slices.DeleteFunc(slices.Clone(r.Methods), func(m string) bool { return m == "HEAD" })
	}
	return r.Methods
}

func (n *node) add(r *Route, segments []segment) {
	for _, s := range segments {
		switch s.kind {
		case slash:
			n.slash = append(n.slash, r)
			return
		case rest:
			n.rest = append(n.rest, r)
			return
		case wildcard:
			if n.wildcard == nil {
				n.wildcard = &node{}
			}
			n = n.wildcard
		case literal:
			n = child(&n.literals, s.text)
		}
	}
	n.end = append(n.end, r)
}

// Match returns the route of a request and its path values, or nil and nil. The
// most specific pattern wins, as in net/http's ServeMux: one with a host before
// one without, then the one whose methods and path match the fewest requests.
// Among equal patterns the first in the file whose headers match wins. It is
// pure, and allocates nothing for a pattern without wildcards.
func (s *Snapshot) Match(v *View) (*Route, Params) {
	r := s.table[v.Host].match(v)
	if r == nil {
		r = s.table[""].match(v)
	}
	if r == nil {
		return nil, nil
	}
	return r, r.pattern.params(v.Path)
}

// Allowed returns the methods, sorted, that routes take at the request's path:
// what Allow says (RFC 9110, 10.2.1). It is empty if no method would be taken, or any.
func (s *Snapshot) Allowed(v *View) []string {
	var methods []string
	for _, t := range []methodTable{s.table[v.Host], s.table[""]} {
		for method, n := range t {
			switch {
			case n.match(v.Path, v) == nil:
			case method == "":
				return nil
			default:
				methods = append(methods, method)
			}
		}
	}
	if slices.Contains(methods, "GET") {
		methods = append(methods, "HEAD")
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

func (t methodTable) match(v *View) *Route {
	r := t[v.Method].match(v.Path, v)
	if r == nil && v.Method == "HEAD" {
		r = t["GET"].match(v.Path, v)
	}
	if r == nil {
		r = t[""].match(v.Path, v)
	}
	return r
}

// match finds the rest of v's path below n. It falls back to a less specific branch where a
// more specific one has no match; no node is visited twice.
func (n *node) match(path string, v *View) *Route {
	if n == nil {
		return nil
	}
	if path == "" {
		return first(n.end, v)
	}
	if path[0] != '/' {
		return nil // OPTIONS *, or no canonical path
	}
	if path == "/" {
		if r := first(n.slash, v); r != nil {
			return r
		}
		return first(n.rest, v)
	}
	segment, after := cutSegment(path)
	text := segment
	if strings.IndexByte(segment, '%') >= 0 {
		text = unescape(segment)
	}
	if r := n.literals[text].match(after, v); r != nil {
		return r
	}
	if segment != "" {
		if r := n.wildcard.match(after, v); r != nil {
			return r
		}
	}
	return first(n.rest, v)
}

// first returns the first of equal patterns whose headers match.
func first(routes []*Route, v *View) *Route {
	for _, r := range routes {
		if !slices.ContainsFunc(r.header, func(h headerMatch) bool { return v.Header == nil || v.Header.Get(h.name) != h.value }) {
			return r
		}
	}
	return nil
}
