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

// play runs a drill of Redis and returns its rows by name. Slow requests are tolerated, since the
// machine may be busy; all other problems are errors.
func play(t *testing.T, args ...string) (rows map[string]drill.Row, table string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "drill.json")
	var stdout, stderr bytes.Buffer
	cmd := drillCommand(t, append([]string{"redis", "--json", file}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	text, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatalf("%v, %v\n%s", err, readErr, stderr.String())
	}
	var report drill.Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("%v\n%s%s", err, text, stderr.String())
	}
	if code := cmd.ProcessState.ExitCode(); report.Passed != (code == 0) || !report.Passed && code != 1 {
		t.Errorf("exit status %d, passed %v", code, report.Passed)
	}
	rows = map[string]drill.Row{}
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

// The drill's own Redis is killed and restored from an old copy, loses the table of purges, and gets
// nearly full.
func TestRedisOfItsOwn(t *testing.T) {
	t.Parallel()
	rows, table := play(t, "--fault", "restored-old,table-evicted,full", "--each", "2s", "--rate", "60")
	old := rows["restored-old"]
	if old.Verdict == "skipped" || old.Trips != 1 || old.Trip == nil || old.Return == nil || old.Apart == nil || old.Broken.Requests < 100 {
		t.Errorf("restored-old: %+v", old)
	}
	if evicted := rows["table-evicted"]; evicted.Verdict == "skipped" || evicted.Broken.Requests == 0 {
		t.Errorf("table-evicted: %+v", evicted)
	}
	// The requests for new lists count too.
	if full := rows["full"]; full.Verdict == "skipped" || full.Broken.Requests <= old.Broken.Requests {
		t.Errorf("full: %+v", full)
	}
	if strings.Count(table, "\n") < 4 {
		t.Errorf("the table is missing: %s", table)
	}
}

// A Redis in use loses nothing.
func TestRedisInUse(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	server.Do("OK", "SET", "somebody", "uses it")
	pid := server.Pid()
	rows, table := play(t, "--redis", server.URL, "--fault", "cut,emptied,restarted-empty,restored-old,stopped,table-evicted,full", "--each", "2s", "--rate", "60")
	for name, r := range rows {
		if skipped := r.Verdict == "skipped"; skipped != (name != "cut") || skipped && !strings.Contains(table, name+": skipped: Redis is not the drill's own") {
			t.Errorf("%s: %s", name, r.Verdict)
		}
	}
	if len(rows) != 7 || server.Pid() != pid {
		t.Errorf("%d rows:\n%s", len(rows), table)
	}
	server.Do("uses it", "GET", "somebody")
}

// aPolicy serves %q.
const aPolicy = `
version: 1
server: {production: true, hosts: [example.org], peers: "127.0.0.1:9", admin_token_file: none}
redis: {url: "redis://127.0.0.1:1"}
upstreams: {only: {targets: [%q]}}
routes: [{name: all, match: {path: "/{rest...}"}, upstream: only}]
`

func writePolicy(t *testing.T, upstream string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(aPolicy, "%q", `"`+upstream+`"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// The gateways of a drill have their own addresses, folders and Redis, whatever the policy says.
func TestAPolicyIsDrilledApart(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer upstream.Close()
	var stdout, stderr bytes.Buffer
	cmd := drillCommand(t, "redis", "--config", writePolicy(t, upstream.URL), "--redis", env.Redis(t).URL, "--yes", "--fault", "cut", "--each", "1s", "--rate", "20", "--json", "-")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the document tells
	var report drill.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || len(report.Rows) != 1 || report.Rows[0].Broken.Failed != 0 || report.Rows[0].Broken.Requests == 0 {
		t.Errorf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
}

// An interrupted drill ends its redis-server and removes its files.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := drillCommand(t, "redis", "--fault", "cut", "--each", "1s", "--rate", "20")
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for b := make([]byte, 1000); !strings.Contains(said.String(), "cut\n"); {
		n, err := stderr.Read(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, said.String())
		}
		said.Write(b[:n])
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(stderr)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(rest), "gateway-drill: interrupted") {
		t.Errorf("%v\n%s", err, rest)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	gateway, err := exec.LookPath("true") // which serves nothing
	if err != nil {
		t.Fatal(err)
	}
	redis := func(args ...string) []string { return append([]string{"redis", "--gateway", gateway}, args...) }
	for _, tc := range []struct {
		sentence string
		args     []string
		stderr   string
	}{
		{"a policy that is marked as production", redis("--config", writePolicy(t, "http://127.0.0.1:1")), "server.production: true; --yes"},
		{"an unknown fault", redis("--fault", "earthquake"), `unknown fault "earthquake"; see --list`},
		{"a Redis that is a Cluster", redis("--redis", "redis+cluster://127.0.0.1:1"), "a drill needs one Redis"},
		{"an invalid URL", redis("--redis", "localhost"), "redis: its scheme is not"},
		{"a policy that is not there", redis("--config", "none.yaml"), "no such file"},
		{"times out of bounds", redis("--each", "1ms"), "want --each from 100ms"},
		{"a gateway that serves nothing", redis("--fault", "cut"), "the gateway does not serve"},
		{"a file that cannot be written", redis("--json", "/nowhere/drill.json"), "/nowhere/drill.json"},
		{"a gateway that is not there", []string{"limits", "--gateway", "/nowhere/gateway"}, "build it, or name it with --gateway"},
		{"arguments", redis("now"), "unknown command"},
		{"a time out of bounds", []string{"limits", "--for", "1s"}, "want --for from 5s to 10m"},
		{"an unknown drill", []string{"sundays"}, `unknown command "sundays"`},
	} {
		var stdout, stderr bytes.Buffer
		if code := execute(tc.args, &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("%s: exit status %d: %s", tc.sentence, code, stderr.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if code := execute([]string{"redis", "--list"}, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "half-open ") {
		t.Errorf("--list: %d %s", code, stdout.String())
	}
}
