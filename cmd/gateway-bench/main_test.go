package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/field"
)

// One case with one short round, by the tool as it is built.
func TestSmoke(t *testing.T) {
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Skip("wrk is not installed")
	}
	dir := t.TempDir()
	for _, program := range []string{"gateway", "gateway-bench"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, program), "github.com/jewgo/gateway/cmd/"+program)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	file := filepath.Join(dir, "result.json")
	cmd := exec.Command(filepath.Join(dir, "gateway-bench"), "--only", "leased", "--rounds", "1", "--round", "300ms", "--json", file, "--profile", dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r field.Report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Tables) != 1 || len(r.Tables[0].Rows) != 2 {
		t.Fatalf("%s", b)
	}
	for _, row := range r.Tables[0].Rows {
		if row.Throughput <= 0 || row.P50 <= 0 || row.P99 < row.P50 || row.Memory <= 0 || row.Allocs <= 0 {
			t.Errorf("%+v", row)
		}
	}
	top, err := exec.Command("go", "tool", "pprof", "-top", "-cum", filepath.Join(dir, "gateway"), filepath.Join(dir, "leased.pprof")).CombinedOutput()
	if err != nil || !strings.Contains(string(top), "httputil.(*ReverseProxy).ServeHTTP") {
		t.Errorf("%v\n%s", err, top)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--rounds 0", "want --round"},
		{"--round 1h", "want --round"},
		{"--gateway /nowhere", "name it with --gateway"},
		{"more", "unknown command"},
	} {
		var stderr strings.Builder
		if code := execute(strings.Fields(c.args), &strings.Builder{}, &stderr); code != 1 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: exit status %d, %s", c.args, code, stderr.String())
		}
	}
}
