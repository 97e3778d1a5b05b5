package repotest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

const (
	maxFileLines     = 400
	maxFunctionLines = 60 // between the braces, as the linter counts
)

// checkSizes checks Go files, given by name; tests may be as long as their tables.
func checkSizes(files map[string]string) (faults []string) {
	for name, content := range files {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if n := strings.Count(content, "\n"); n > maxFileLines {
			faults = append(faults, fmt.Sprintf("%s has %d lines, more than %d", name, n, maxFileLines))
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, content, parser.SkipObjectResolution)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			if n := set.Position(f.Body.Rbrace).Line - set.Position(f.Body.Lbrace).Line - 1; n > maxFunctionLines {
				faults = append(faults, fmt.Sprintf("%s: %s has %d lines, more than %d", set.Position(f.Pos()), f.Name, n, maxFunctionLines))
			}
		}
	}
	return faults
}

func TestSizes(t *testing.T) { report(t, checkSizes(files(t))) }

func TestCheckSizes(t *testing.T) {
	function := func(lines int) string {
		return "package a\n\nfunc f() {\n" + strings.Repeat("\tf()\n", lines) + "}\n"
	}
	file := func(lines int) string { return "package a\n" + strings.Repeat("\n", lines-1) }
	expect(t, checkSizes(map[string]string{
		"function.go": function(maxFunctionLines), "file.go": file(maxFileLines),
		"a_test.go": function(maxFunctionLines + 1), "b_test.go": file(maxFileLines + 1), "notes.md": file(maxFileLines + 1),
	}))
	expect(t, checkSizes(map[string]string{
		"function.go": function(maxFunctionLines + 1), "file.go": file(maxFileLines + 1), "broken.go": "package",
	}), "f has 61 lines", "file.go has 401 lines", "broken.go")
}
