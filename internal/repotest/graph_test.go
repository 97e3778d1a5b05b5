package repotest

import (
	"slices"
	"strings"
	"testing"
)

const (
	graphFile  = "docs/how-it-works/architecture.md"
	graphBegin = "<!-- import graph: begin -->\n"
)

// importGraph draws the product's packages as Mermaid, without packages for tests. It leaves out arrows
// that follow from others: a → c if a → b → c.
func importGraph(pkgs []pkg) string {
	direct := map[string][]string{}
	for _, p := range pkgs {
		if l, ok := layerOf(p.path()); ok && slices.Contains([]string{"servers of tests", "tests", "drills", "drill"}, l.name) {
			continue
		}
		direct[p.path()] = nil
		for _, imported := range p.Imports {
			if own(imported) {
				direct[p.path()] = append(direct[p.path()], short(imported))
			}
		}
	}
	reached := map[string]map[string]bool{} // by one arrow or more
	var reach func(p string) map[string]bool
	reach = func(p string) map[string]bool {
		if r, ok := reached[p]; ok {
			return r
		}
		r := map[string]bool{}
		reached[p] = r
		for _, to := range direct[p] {
			r[to] = true
			for far := range reach(to) {
				r[far] = true
			}
		}
		return r
	}
	var lines []string
	for p, tos := range direct {
		if len(tos) == 0 {
			lines = append(lines, "    "+p+"\n")
		}
		for _, to := range tos {
			if !slices.ContainsFunc(tos, func(via string) bool { return reach(via)[to] }) {
				lines = append(lines, "    "+p+" --> "+to+"\n")
			}
		}
	}
	slices.Sort(lines)
	return "```mermaid\ngraph TD\n" + strings.Join(lines, "") + "```\n"
}

func TestImportGraph(t *testing.T) { generated(t, graphFile, graphBegin, importGraph(packages(t))) }

func TestGraphOf(t *testing.T) {
	got := importGraph([]pkg{
		{ImportPath: module + "/cmd/gateway", Imports: []string{"fmt", module + "/proxy", module + "/policy"}},
		{ImportPath: module + "/proxy", Imports: []string{module + "/policy"}},
		{ImportPath: module + "/policy"},
		{ImportPath: module + "/test/env", Imports: []string{module + "/policy"}},
	})
	want := "```mermaid\ngraph TD\n    cmd/gateway --> proxy\n    policy\n    proxy --> policy\n```\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
