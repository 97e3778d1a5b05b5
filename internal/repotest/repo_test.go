package repotest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/jewgo/gateway"
	root   = "../.."
)

var update = flag.Bool("update", false, "rewrite the generated parts of the documents")

// pkg is the output of go list for a package; Imports excludes those of tests.
type pkg struct {
	ImportPath string
	Name       string
	Doc        string // the first sentence of its comment
	Imports    []string
	GoFiles    []string
}

// path is the package's place in the module, such as "internal/gcra".
func (p pkg) path() string { return short(p.ImportPath) }

func short(importPath string) string { return strings.TrimPrefix(importPath, module+"/") }

func own(importPath string) bool { return strings.HasPrefix(importPath, module+"/") }

func packages(t *testing.T) []pkg {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(command(t, "go", "list", "-json=ImportPath,Name,Doc,Imports,GoFiles", "./...")))
	var pkgs []pkg
	for {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 { // else it only holds tests
			pkgs = append(pkgs, p)
		}
	}
}

// files returns the repository's files by path: those that are committed or would be. Outside of a
// checkout it returns all files.
func files(t *testing.T) map[string]string {
	t.Helper()
	var names []string
	if _, err := os.Stat(filepath.Join(root, ".git")); err == nil {
		out := command(t, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
		names = strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	} else {
		names = walk(t)
	}
	found := map[string]string{}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, but the deletion is not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		found[name] = string(content)
	}
	return found
}

func walk(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{"bin", "data"}, d.Name()) {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			name, err := filepath.Rel(root, path)
			names = append(names, filepath.ToSlash(name))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func command(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return out
}

// report fails the test for each fault that a check found.
func report(t *testing.T, faults []string) {
	t.Helper()
	slices.Sort(faults)
	for _, fault := range faults {
		t.Error(fault)
	}
}

// expect checks the faults found in a planted input: one that contains each of want, in any order, and
// no other.
func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	for _, part := range want {
		i := slices.IndexFunc(got, func(fault string) bool { return strings.Contains(fault, part) })
		if i < 0 {
			t.Errorf("nothing found like %q in %q", part, got)
			continue
		}
		got = slices.Delete(slices.Clone(got), i, i+1)
	}
	for _, fault := range got {
		t.Errorf("unexpected: %s", fault)
	}
}
