package repotest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// generatedEnd closes every generated part of a document.
const generatedEnd = "<!-- end -->"

// replacePart puts part between the marks begin and generatedEnd.
func replacePart(document, begin, part string) (string, error) {
	before, rest, ok := strings.Cut(document, begin)
	_, after, ok2 := strings.Cut(rest, generatedEnd)
	if !ok || !ok2 {
		return "", errors.New("the document lacks the marks " + strings.TrimSpace(begin) + " and " + generatedEnd)
	}
	return before + begin + part + generatedEnd + after, nil
}

// generated compares the part of a document after the mark begin with the generated one, or rewrites
// it.
func generated(t *testing.T, file, begin, part string) {
	t.Helper()
	name := filepath.Join(root, file)
	document, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := replacePart(string(document), begin, part)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if want == string(document) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the code says: run `make docs`", file)
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReplacePart(t *testing.T) {
	const begin = "<!-- it: begin -->\n"
	got, err := replacePart("a\n"+begin+"old\n"+generatedEnd+"\nb\n", begin, "new\n")
	if want := "a\n" + begin + "new\n" + generatedEnd + "\nb\n"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := replacePart("a document without marks\n", begin, "new\n"); err == nil {
		t.Error("a document without marks was taken")
	}
}
