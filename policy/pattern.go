package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// pattern is a path pattern in net/http's ServeMux syntax, without method and host.
// Without segments it could not be read, and matches nothing.
type pattern struct{ segments []segment }

type segmentKind int

const (
	literal  segmentKind = iota
	wildcard             // {name}: one segment
	slash                // {$}: the path ends with this slash
	rest                 // {name...}, or a final slash: everything from here
)

type segment struct {
	kind segmentKind
	text string // a literal, unescaped, or a wildcard's name; "" for a final slash
}

// named reports whether a match has a path value for s.
func (s segment) named() bool { return (s.kind == wildcard || s.kind == rest) && s.text != "" }

const longestPattern = 1024 // bytes

func parsePattern(s string) (pattern, error) {
	switch {
	case len(s) > longestPattern:
		return pattern{}, fmt.Errorf("longer than %d bytes", longestPattern)
	case !strings.HasPrefix(s, "/"):
		return pattern{}, errors.New("must start with /")
	case strings.ContainsAny(s, "?# \t"):
		return pattern{}, errors.New("a path has no query, fragment or space")
	}
	var p pattern
	parts := strings.Split(s[1:], "/")
	for i, part := range parts {
		seg, err := parseSegment(part, i == len(parts)-1)
		switch {
		case err != nil:
			return pattern{}, err
		case seg.named() && p.has(seg.text):
			return pattern{}, fmt.Errorf("duplicate wildcard {%s}", seg.text)
		}
		p.segments = append(p.segments, seg)
	}
	return p, nil
}

func parseSegment(s string, last bool) (segment, error) {
	if !strings.Contains(s, "{") {
		text, err := url.PathUnescape(s)
		switch {
		case s == "" && last:
			return segment{kind: rest}, nil
		case s == "" || text == "." || text == "..":
			return segment{}, errors.New("an empty or dot segment never matches, since such paths are refused")
		case err != nil || strings.ContainsAny(text, "/\\}"):
			return segment{}, fmt.Errorf("bad segment %q", yamlfile.Clip(s))
		case s[0] == '*' || s[0] == ':' || s[0] == '<':
			return segment{}, fmt.Errorf("%q would match itself alone (write %%%X for that character)", yamlfile.Clip(s), s[0])
		}
		return segment{literal, text}, nil
	}
	name, closed := strings.CutSuffix(s[1:], "}")
	name, multi := strings.CutSuffix(name, "...")
	switch {
	case s[0] != '{' || !closed:
		return segment{}, fmt.Errorf("bad segment %q: a wildcard is a whole segment", yamlfile.Clip(s))
	case s == "{$}" && last:
		return segment{kind: slash}, nil
	case !last && (s == "{$}" || multi):
		return segment{}, fmt.Errorf("%s must be at the end", s)
	case !isIdentifier(name):
		return segment{}, fmt.Errorf("bad wildcard name %q", yamlfile.Clip(name))
	case multi:
		return segment{rest, name}, nil
	}
	return segment{wildcard, name}, nil
}

// otherWildcard is how other routers write a segment that matches more than itself:
// *, **, *rest, :id, <id>, <int:id>, {id:regexp}.
var otherWildcard = regexp.MustCompile(`^(\*+|[:*]|<(?:[a-z]+(?:\([^)]*\))?:)?|\{\*?)([A-Za-z_][A-Za-z0-9_]*)?(:.*\}|\}|>|\*|\.\*)?$`)

// likelyPattern returns the pattern that was probably meant by one in another router's
// syntax, or "".
func likelyPattern(s string) string {
	if len(s) > longestPattern {
		return ""
	}
	parts, changed := strings.Split(s, "/"), false
	for i, part := range parts {
		last := i == len(parts)-1
		if _, err := parseSegment(part, last); part == "" || err == nil && !strings.ContainsAny(part[:1], "*:<") {
			continue
		}
		m := otherWildcard.FindStringSubmatch(part)
		if m == nil {
			return ""
		}
		name := cmp.Or(m[2], map[bool]string{true: "rest", false: "part"}[last])
		if many := strings.Contains(part, "*") && !strings.Contains(part, ":") || strings.HasPrefix(part, "<path:"); many && last {
			name += "..."
		}
		parts[i], changed = "{"+name+"}", true
	}
	likely := strings.Join(parts, "/")
	if _, err := parsePattern(likely); err != nil || !changed {
		return ""
	}
	return likely
}

// names returns the names of a match's path values, in order.
func (p pattern) names() []string {
	var names []string
	for _, s := range p.segments {
		if s.named() {
			names = append(names, s.text)
		}
	}
	return names
}

func (p pattern) has(name string) bool { return slices.Contains(p.names(), name) }

// params returns the path values of an escaped path that the pattern matches; nil for a
// pattern without any.
func (p pattern) params(path string) Params {
	var params Params
	for _, s := range p.segments {
		value := path[1:]
		if s.kind != rest {
			value, path = cutSegment(path)
		}
		if s.named() {
			params = append(params, Param{s.text, unescape(value)})
		}
	}
	return params
}

// cutSegment splits "/a/b/c" into "a" and "/b/c".
func cutSegment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// unescape decodes a path segment; one that is malformed stands for itself.
func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// relation compares two sets of requests: whether each has some that the other lacks.
// Neither: they are the same. Both: they overlap, unless disjoint.
type relation struct{ disjoint, left, right bool }

func (r relation) and(s relation) relation {
	return relation{r.disjoint || s.disjoint, r.left || s.left, r.right || s.right}
}

func (r relation) same() bool     { return r == relation{} }
func (r relation) overlaps() bool { return !r.disjoint && r.left && r.right }

// compare returns the relation of the paths that p and q match.
func (p pattern) compare(q pattern) relation {
	r := relation{disjoint: len(p.segments) == 0 || len(q.segments) == 0}
	for i := 0; i < len(p.segments) && i < len(q.segments); i++ {
		a, b := p.segments[i], q.segments[i]
		switch {
		case a.kind == rest || b.kind == rest:
			return r.and(relation{left: b.kind != rest, right: a.kind != rest})
		case a.kind == wildcard && b.kind == wildcard:
		case a.kind == wildcard && b.kind == literal:
			r.left = true
		case a.kind == literal && b.kind == wildcard:
			r.right = true
		case a != b:
			return relation{disjoint: true}
		}
	}
	if len(p.segments) != len(q.segments) {
		return relation{disjoint: true}
	}
	return r
}

// compareMethods returns the relation of two methods; "" is any. As in ServeMux, GET
// includes HEAD, and HEAD alone is more specific.
func compareMethods(a, b string) relation {
	switch {
	case a == b:
		return relation{}
	case a == "" || a == "GET" && b == "HEAD":
		return relation{left: true}
	case b == "" || b == "GET" && a == "HEAD":
		return relation{right: true}
	}
	return relation{disjoint: true}
}
