package repotest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// release runs make release in a copy of the repository, and returns the binary's path.
func release(t *testing.T, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files(t) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("make", "-C", dir, "release", "VERSION=v9.8.7", "PLATFORMS=linux/"+runtime.GOARCH)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "bin/release/gateway-v9.8.7-linux-"+runtime.GOARCH)
}

// A release is the same bytes wherever it is built, needs no library, and knows its version.
func TestRelease(t *testing.T) {
	first, second := release(t), release(t, "GOFLAGS=-buildvcs=true", "GOAMD64=v2")
	a, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two builds of one version differ")
	}
	sums := exec.Command("sha256sum", "--check", "gateway-v9.8.7-SHA256SUMS")
	sums.Dir = filepath.Dir(first)
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out := string(command(t, first, "version")); out != "gateway v9.8.7\n" {
		t.Errorf("version: %q", out)
	}
	if bytes.Contains(a, []byte("ld-linux")) || strings.Contains(string(a), filepath.Dir(first)) {
		t.Error("the binary needs a dynamic linker, or names the folder in which it was built")
	}
}
