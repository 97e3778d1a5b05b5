package policy

import (
	"cmp"
	"slices"
	"strings"
)

// Near is a route that a request does not take.
type Near struct {
	Route *Route
	Why   string // a phrase
}

// Near returns up to most of the routes that a request comes closest to without taking them, the
// closest first. taken is the route that it takes; nil: none.
func (s *Snapshot) Near(v *View, taken *Route, most int) []Near {
	type ranked struct {
		Near
		misses, shared int
	}
	var all []ranked
	for _, r := range s.Routes {
		if r == taken {
			continue
		}
		why := r.misses(v)
		misses := len(why)
		if misses == 0 && taken != nil {
			why = []string{"it is less specific than " + taken.Name}
			if r.pattern.compare(taken.pattern).same() {
				why = []string{"it comes after " + taken.Name + " in the file"}
			}
		}
		all = append(all, ranked{Near{r, strings.Join(why, "; ")}, misses, r.pattern.begins(v.Path)})
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.misses, b.misses), cmp.Compare(b.shared, a.shared))
	})
	var near []Near
	for _, r := range all[:min(most, len(all))] {
		near = append(near, r.Near)
	}
	return near
}

// misses returns why the route does not match a request; empty: it does.
func (r *Route) misses(v *View) (why []string) {
	if !r.pattern.matches(v.Path) {
		why = append(why, "the path differs from "+r.Pattern)
	}
	if r.Host != "" && r.Host != v.Host {
		why = append(why, "the host is not "+r.Host)
	}
	if methods := r.Methods; len(methods) > 0 && !slices.Contains(methods, v.Method) && !(v.Method == "HEAD" && slices.Contains(methods, "GET")) {
		why = append(why, "it takes "+strings.Join(methods, ", "))
	}
	for _, h := range r.header {
		if v.Header == nil || v.Header.Get(h.name) != h.value {
			why = append(why, "the header lacks the "+h.name+" that it matches") // which may be a secret of a proxy in front
		}
	}
	return why
}

// matches reports whether the pattern matches an escaped path.
func (p pattern) matches(path string) bool {
	n := p.begins(path)
	for range n {
		_, path = cutSegment(path)
	}
	if n == len(p.segments) {
		return n > 0 && path == ""
	}
	last := p.segments[n] // and so it is, unless it is of another kind
	return last.kind == slash && path == "/" || last.kind == rest && strings.HasPrefix(path, "/")
}

// begins is how many segments of an escaped path the pattern has from its start, one by one.
func (p pattern) begins(path string) (n int) {
	for _, s := range p.segments {
		if s.kind == rest || s.kind == slash || !strings.HasPrefix(path, "/") {
			return n
		}
		var text string
		if text, path = cutSegment(path); s.kind == literal && unescape(text) != s.text || s.kind == wildcard && text == "" {
			return n
		}
		n++
	}
	return n
}
