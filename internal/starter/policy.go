package starter

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/jewgo/gateway/internal/rfc9111"
)

//go:embed policy.yaml.tmpl
var policyText string

var policyTemplate = template.Must(template.New("policy").Funcs(template.FuncMap{
	"quote": quote, "comment": comment,
}).Parse(policyText))

// route is what the template needs of a page.
type route struct {
	Name, Path    string
	URL           string   // that was asked for
	Params        []string // names in the query, sorted
	Seen          string   // what was answered
	Caching       Caching
	Why           string // it is not cached
	VariesCookies bool
}

// Policy writes a policy for the backend, with comments on what was seen.
func (b Backend) Policy(now time.Time) []byte {
	var routes []route
	names := map[string]bool{"rest": true, "login": true}
	for _, p := range b.Pages {
		r := route{Path: pattern(p.URL), Name: free(names, p.URL.Path), URL: p.URL.String(), Seen: p.seen()}
		if slices.ContainsFunc(routes, func(other route) bool { return other.Path == r.Path }) {
			continue // two URLs of one path have one route
		}
		for name := range p.URL.Query() {
			r.Params = append(r.Params, name)
		}
		slices.Sort(r.Params)
		r.Caching, r.Why = p.Caching(now)
		r.VariesCookies = rfc9111.Varies(p.Header, "Cookie")
		routes = append(routes, r)
	}
	var out bytes.Buffer
	data := struct {
		Backend
		Routes []route
		Tried  []string
	}{b, routes, healthPaths}
	if err := policyTemplate.Execute(&out, data); err != nil {
		panic(err) // the template is part of the program, and a Buffer takes everything
	}
	return out.Bytes()
}

// seen describes an answer in one line.
func (p Page) seen() string {
	if p.Problem != "" {
		return p.Problem
	}
	parts := []string{fmt.Sprint(p.Status)}
	if kind := p.Header.Get("Content-Type"); kind != "" {
		parts = append(parts, kind)
	}
	if p.Size >= 0 {
		parts = append(parts, fmt.Sprintf("%d bytes", p.Size))
	}
	for _, name := range []string{"Cache-Control", "Expires", "Vary"} {
		if value := strings.Join(p.Header.Values(name), ", "); value != "" {
			parts = append(parts, name+": "+value)
		}
	}
	if p.Header.Get("Etag") != "" {
		parts = append(parts, "an ETag")
	}
	for _, c := range p.Cookies {
		parts = append(parts, "the cookie "+c.Name)
	}
	return strings.Join(parts, "; ")
}

// pattern is a path as a route's pattern that matches it alone.
func pattern(u *url.URL) string {
	path := strings.NewReplacer("{", "%7B", "}", "%7D").Replace(u.EscapedPath())
	if strings.HasSuffix(path, "/") {
		path += "{$}"
	}
	return path
}

// free makes a route's name of a path: one that none of names is, to which it is added.
func free(names map[string]bool, path string) string {
	const most = 48
	words := strings.FieldsFunc(path, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	name := strings.Join(words, "-")
	name = strings.TrimRight(name[:min(len(name), most)], "-")
	if name == "" {
		name = "root"
	}
	for base, n := name, 2; names[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	names[name] = true
	return name
}

// quote writes a string for YAML, for which a string of JSON will do. A $ that would begin a variable is doubled.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can be encoded
	}
	return strings.ReplaceAll(string(text), "${", "$${")
}

// comment makes text from outside safe for the rest of a comment's line.
func comment(s string) string {
	const most = 400
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}
