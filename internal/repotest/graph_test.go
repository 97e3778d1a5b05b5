package repotest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	graphFile  = "docs/architecture.md"
	graphBegin = "<!-- import graph: begin -->\n"
	graphEnd   = "<!-- end -->"
)

// importGraph draws the product's packages as Mermaid. An arrow that follows
// from others is left out: when a → b → c, nothing is said by a → c.
func importGraph(pkgs []pkg) string {
	direct := map[string][]string{}
	for _, p := range pkgs {
		if l, ok := layerOf(p.path()); ok && l.name == "tests" {
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

// replaceGraph puts graph between the marks of a document.
func replaceGraph(document, graph string) (string, error) {
	before, rest, ok := strings.Cut(document, graphBegin)
	_, after, ok2 := strings.Cut(rest, graphEnd)
	if !ok || !ok2 {
		return "", errors.New("the document lacks the marks " + strings.TrimSpace(graphBegin) + " and " + graphEnd)
	}
	return before + graphBegin + graph + graphEnd + after, nil
}

func TestImportGraph(t *testing.T) {
	name := filepath.Join(root, graphFile)
	document, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := replaceGraph(string(document), importGraph(packages(t)))
	if err != nil {
		t.Fatalf("%s: %v", graphFile, err)
	}
	if want == string(document) {
		return
	}
	if !*update {
		t.Fatalf("%s shows another import graph than the code's: run `make graph`", graphFile)
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGraphOf(t *testing.T) {
	got := importGraph([]pkg{
		{ImportPath: module + "/cmd/gateway", Imports: []string{"fmt", module + "/proxy", module + "/policy"}},
		{ImportPath: module + "/proxy", Imports: []string{module + "/policy"}},
		{ImportPath: module + "/policy"},
		{ImportPath: module + "/internal/testenv", Imports: []string{module + "/policy"}},
	})
	want := "```mermaid\ngraph TD\n    cmd/gateway --> proxy\n    policy\n    proxy --> policy\n```\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestReplaceGraph(t *testing.T) {
	got, err := replaceGraph("a\n"+graphBegin+"old\n"+graphEnd+"\nb\n", "new\n")
	if want := "a\n" + graphBegin + "new\n" + graphEnd + "\nb\n"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := replaceGraph("a document without marks\n", "new\n"); err == nil {
		t.Error("a document without marks was taken")
	}
}
