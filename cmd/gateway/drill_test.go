package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A drill is worth what it finds: builds in which one decision of the failover is
// broken fail it, each for the reason that it is there for.
func TestDrillFailsABrokenBuild(t *testing.T) {
	for _, tc := range []struct {
		sentence  string
		file      string // from the repository's root
		old, new  string // old stands there once
		fault     string
		each      string
		complaint string
	}{
		{
			"Redis is asked though it was given up", "internal/failover/do.go",
			"	if seen.state() != Up {\n		return local()\n	}\n", "",
			"half-open", "2s", "p50 rose by",
		},
		{
			"late answers are used", "internal/failover/do.go",
			"late := seen.late(s.load())", "late := false",
			"late", "2s", "no late answer was dropped",
		},
		{
			"the probe does not write", "internal/redisdb/probe.go",
			"probeScript.Run(ctx, client, []string{key}, epochTTL.Milliseconds(), rand.Text(), last.Incarnation, last.Counter).Slice()",
			`[]any{"incarnation", time.Now().UnixNano(), rand.Text()[:0]}, client.Ping(ctx).Err()`,
			"readonly", "2s", "though it was broken all the time",
		},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			gateway := buildWith(t, tc.file, tc.old, tc.new)
			out, err := exec.Command(gateway, "drill", "redis", "--fault", tc.fault, "--each", tc.each).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "FAIL") || !strings.Contains(string(out), tc.complaint) {
				t.Errorf("%v\n%s\nwant a failure that says %q", err, out, tc.complaint)
			}
		})
	}
}

// buildWith builds the gateway with a change in one file.
func buildWith(t *testing.T, file, from, to string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(root, file)
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), from); n != 1 {
		t.Fatalf("%s holds %d times\n%s", file, n, from)
	}
	dir := t.TempDir()
	changed, overlay, gateway := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "gateway")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{changed: strings.Replace(string(text), from, to, 1), overlay: string(replace)} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", gateway, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return gateway
}

func TestDrillRefuses(t *testing.T) {
	production := filepath.Join(t.TempDir(), "gateway.yaml")
	text := strings.Replace(smallPolicy, "server: {", "server: {production: true, ", 1)
	if err := os.WriteFile(production, []byte(strings.ReplaceAll(text, "%q", `"http://127.0.0.1:1"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		sentence string
		args     []string
		stderr   string
	}{
		{"a policy that is marked as production", []string{"--config", production}, "server.production: true; --yes"},
		{"a fault that is none", []string{"--fault", "earthquake"}, `unknown fault "earthquake"; see --list`},
		{"a Redis that is a Cluster", []string{"--redis", "redis+cluster://127.0.0.1:1"}, "a drill needs one Redis"},
		{"a URL that is none", []string{"--redis", "localhost"}, "redis: its scheme is not"},
		{"a policy that is not there", []string{"--config", "none.yaml"}, "no such file"},
		{"times out of bounds", []string{"--each", "1ms"}, "want --each from 100ms"},
		{"arguments", []string{"now"}, "unknown command"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := execute(append([]string{"drill", "redis"}, tc.args...), &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("exit status %d: %s", code, stderr.String())
			}
		})
	}
	var stdout, stderr bytes.Buffer
	if code := execute([]string{"drill", "redis", "--list"}, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "half-open ") {
		t.Errorf("--list: %d %s", code, stdout.String())
	}
}
