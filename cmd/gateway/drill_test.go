package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jewgo/gateway/test/drill"
	"github.com/jewgo/gateway/test/env"
)

// A drill is worth what it finds: builds in which one decision of the failover is
// broken fail it, each for the reason that it is there for.
func TestDrillFailsABrokenBuild(t *testing.T) {
	for _, tc := range []struct {
		sentence  string
		file      string   // from the repository's root
		change    []string // old and new text in turn; each old one stands there once
		fault     string
		each      string
		complaint string
	}{
		{
			"Redis is asked though it was given up", "internal/failover/ask.go",
			[]string{"	if !s.Up() {\n", "	if s == nil {\n", "	if seen.state() != Up {\n		return v, false, nil\n	}\n", ""},
			"half-open", "2s", "p50 rose by",
		},
		{
			"late answers are used", "internal/failover/ask.go",
			[]string{"late := seen.late(s.load())", "late := false"},
			"late", "2s", "no late answer was dropped",
		},
		{
			"the probe does not write", "internal/redisdb/probe.go",
			[]string{
				"probeScript.Run(ctx, client, []string{key}, epochTTL.Milliseconds(), rand.Text(), last.Incarnation, last.Counter).Slice()",
				`[]any{"incarnation", time.Now().UnixNano(), rand.Text()[:0]}, client.Ping(ctx).Err()`,
			},
			"readonly", "2s", "though it was broken all the time",
		},
		{
			"a copy of some seconds ago passes for what was there", "internal/failover/run.go",
			[]string{"loss := lost(s.last, found)", "var loss error"},
			"restored-old", "2s", "that Redis had lost data was not noticed",
		},
		{
			"each gateway waits at the barrier as it likes", "internal/failover/run.go",
			[]string{"time.NewTimer(min(left, maxBarrier))", "time.NewTimer(time.Duration(s.last.Counter%3) * time.Second)"},
			"several", "2s", "after the first, allowed 500ms",
		},
		{
			"what others have purged is not read", "middleware/cache/tags_sync.go",
			[]string{"read := t.unread.Swap(false)", "read := t.unread.Swap(false) && t == nil"},
			"table-evicted", "700ms", "was purged, and a gateway that started since served it",
		},
		{
			"responses are written until Redis refuses them", "internal/redisdb/guard.go",
			[]string{"	if g.full || !fits {\n", "	if g.full && !g.known && fits {\n"},
			"full", "2s", "responses filled Redis to",
		},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			gateway := buildWith(t, tc.file, tc.change)
			out, err := exec.Command(gateway, "drill", "redis", "--fault", tc.fault, "--each", tc.each).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "FAIL") || !strings.Contains(string(out), tc.complaint) {
				t.Errorf("%v\n%s\nwant a failure that says %q", err, out, tc.complaint)
			}
		})
	}
}

// buildWith builds the gateway with changes in one file.
func buildWith(t *testing.T, file string, change []string) string {
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
	for i := 0; i < len(change); i += 2 {
		if n := strings.Count(string(text), change[i]); n != 1 {
			t.Fatalf("%s holds %d times\n%s", file, n, change[i])
		}
	}
	dir := t.TempDir()
	changed, overlay, gateway := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "gateway")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{changed: strings.NewReplacer(change...).Replace(string(text)), overlay: string(replace)} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", gateway, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return gateway
}

// drillJSON runs a drill and gives its rows by name. That a busy machine makes
// requests slow is no matter here; every other problem is.
func drillJSON(t *testing.T, args ...string) (rows map[string]drill.ReportRow, table string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "drill.json")
	var stdout, stderr bytes.Buffer
	code := execute(append([]string{"drill", "redis", "--json", file}, args...), &stdout, &stderr)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("exit status %d, %v\n%s", code, err, stderr.String())
	}
	var report drill.Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if report.Passed != (code == 0) || !report.Passed && code != 1 {
		t.Errorf("exit status %d, passed %v", code, report.Passed)
	}
	rows = map[string]drill.ReportRow{}
	for _, r := range report.Rows {
		rows[r.Fault] = r
		for _, p := range r.Problems {
			if !strings.HasPrefix(p, "p50 rose") && !strings.HasPrefix(p, "p99 rose") {
				t.Errorf("%s: %s", r.Fault, p)
			}
		}
	}
	return rows, stdout.String()
}

// Its own Redis is killed and comes back old, three gateways lose it, it evicts the
// table of purges, and responses would fill it.
func TestDrillOfItsOwnRedis(t *testing.T) {
	rows, table := drillJSON(t, "--fault", "restored-old,several,table-evicted,full", "--each", "1500ms", "--rate", "100")
	old, several := rows["restored-old"], rows["several"]
	if old.Verdict == "skipped" || old.Trips != 1 || old.Return == nil || old.Broken.Requests < 100 || old.Apart != nil {
		t.Errorf("restored-old: %+v", old)
	}
	// The two others are sent a quarter of the traffic each.
	if several.Verdict == "skipped" || several.Apart == nil || several.Broken.Requests < old.Broken.Requests*5/4 {
		t.Errorf("several: %+v", several)
	}
	if evicted := rows["table-evicted"]; evicted.Verdict == "skipped" || evicted.Broken.Requests == 0 {
		t.Errorf("table-evicted: %+v", evicted)
	}
	// The lists that nobody asked for before count too.
	if full := rows["full"]; full.Verdict == "skipped" || full.Broken.Requests <= old.Broken.Requests {
		t.Errorf("full: %+v", full)
	}
	if strings.Count(table, "\n") < 5 {
		t.Errorf("the table is missing: %s", table)
	}
}

// Of a Redis that somebody uses nothing is lost.
func TestDrillOfARedisInUse(t *testing.T) {
	server := env.Redis(t)
	cli := func(args ...string) string {
		out, err := exec.Command("redis-cli", append([]string{"-u", server.URL}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli: %v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	cli("SET", "somebody", "uses it")
	pid := server.Pid()
	rows, table := drillJSON(t, "--redis", server.URL, "--fault", "cut,emptied,restarted-empty,restored-old,several,table-evicted,full", "--each", "500ms", "--rate", "50")
	for name, r := range rows {
		if skipped := r.Verdict == "skipped"; skipped != (name != "cut") || skipped && !strings.Contains(table, name+": skipped: Redis is not the drill's own") {
			t.Errorf("%s: %s", name, r.Verdict)
		}
	}
	if len(rows) != 7 || cli("GET", "somebody") != "uses it" || server.Pid() != pid {
		t.Errorf("%d rows; what was in Redis is gone:\n%s", len(rows), table)
	}
}

func TestDrillWritesJSONAlone(t *testing.T) {
	production := filepath.Join(t.TempDir(), "gateway.yaml")
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer upstream.Close()
	text := strings.Replace(smallPolicy, "server: {", "server: {production: true, ", 1)
	writePolicy(t, production, strings.ReplaceAll(text, "%q", `"`+upstream.URL+`"`))
	var stdout, stderr bytes.Buffer
	execute([]string{"drill", "redis", "--config", production, "--yes", "--fault", "cut", "--each", "500ms", "--json", "-"}, &stdout, &stderr)
	var report drill.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || len(report.Rows) != 1 || report.Rows[0].Broken.Failed != 0 {
		t.Errorf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
}

// A drill that is told to end takes its redis-server and its files with it.
func TestDrillInterrupted(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var stderr output
	cmd := exec.Command(path, "drill", "redis", "--fault", "cut", "--each", "1s")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stderr.await(t, "cut\n")
	sockets, err := filepath.Glob(filepath.Join(dir, "*", "redis.sock"))
	if err != nil || len(sockets) != 1 {
		t.Errorf("sockets %v, %v", sockets, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitUsage || !strings.Contains(stderr.String(), "gateway: interrupted") {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
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
		{"a file that cannot be written", []string{"--json", "/nowhere/drill.json"}, "/nowhere/drill.json"},
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
