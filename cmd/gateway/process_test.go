package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// built is the folder that binary has made.
var built string

// binary builds the gateway once, with the race detector unless speed is measured, and gives its path.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gateway-e2e-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "gateway")
	args := []string{"build", "-race", "-o", path, "."}
	if os.Getenv("GATEWAY_BENCH") != "" { // which measures what users run
		args = slices.Delete(args, 1, 2)
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	env.SideBySide(4)
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // the gateways end at once, not after the usual second
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // the system clears its folder for temporary files
	}
	os.Exit(code)
}

// command is the gateway's command line. GATEWAY_E2E_COMMAND puts another
// gateway in its place, such as one inside an image's root.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if prefix := strings.Fields(os.Getenv("GATEWAY_E2E_COMMAND")); len(prefix) > 0 {
		return exec.Command(prefix[0], append(prefix[1:], args...)...)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, args...)
}

// policyFolder is a folder for policies: its path here, and as the gateway sees it.
func policyFolder(t *testing.T) (here, there string) {
	t.Helper()
	if dir := os.Getenv("GATEWAY_E2E_DIR"); dir != "" {
		here, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(here) })
		return here, filepath.Join(os.Getenv("GATEWAY_E2E_DIR_INSIDE"), filepath.Base(here))
	}
	dir := t.TempDir()
	return dir, dir
}

// output collects what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until the output holds text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	env.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(o.String(), text) {
			return fmt.Errorf("no %q in:\n%s", text, o.String())
		}
		return nil
	})
}

// gatewayProcess is a running gateway.
type gatewayProcess struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr output
	base, admin    string
	ended          chan error
	args           []string
	again          func() *gatewayProcess // starts another one like it
}

// start runs the gateway on free ports and waits until it serves.
func start(t *testing.T, env []string, args ...string) *gatewayProcess {
	t.Helper()
	return startAs(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, env...) }, args...)
}

// startAs is start of a process that set has changed something of.
func startAs(t *testing.T, set func(*exec.Cmd), args ...string) *gatewayProcess {
	t.Helper()
	g := launchAs(t, set, append(slices.Clip(args), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")...)
	g.again = func() *gatewayProcess { return startAs(t, set, args...) }
	g.serving()
	return g
}

// serving waits until the gateway serves.
func (g *gatewayProcess) serving() {
	g.t.Helper()
	env.Eventually(g.t, 30*time.Second, func() error {
		select {
		case err := <-g.ended:
			g.ended <- err
			g.t.Fatalf("the gateway ended: %v\n%s", err, g.stderr.String())
		default:
		}
		return g.locate()
	})
}

// launch runs the gateway and makes sure that it ends with the test.
func launch(t *testing.T, env []string, args ...string) *gatewayProcess {
	t.Helper()
	return launchAs(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, env...) }, args...)
}

// launchAs is launch of a process that set has changed something of.
func launchAs(t *testing.T, set func(*exec.Cmd), args ...string) *gatewayProcess {
	t.Helper()
	g := &gatewayProcess{t: t, args: args, cmd: command(t, args...), ended: make(chan error, 1)}
	g.cmd.Env = os.Environ()
	g.cmd.Stdout, g.cmd.Stderr = &g.stdout, &g.stderr
	set(g.cmd)
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { g.ended <- g.cmd.Wait() }() // ends with the process
	t.Cleanup(func() {
		select {
		case err := <-g.ended:
			g.ended <- err
		default:
			_ = g.cmd.Process.Kill()
			<-g.ended
		}
		if strings.Contains(g.stderr.String(), "DATA RACE") || strings.Contains(g.stderr.String(), "handler panicked") {
			t.Errorf("the gateway said:\n%s", g.stderr.String())
		}
	})
	return g
}

// locate reads the addresses from the log line, or the banner, that tells them.
func (g *gatewayProcess) locate() error {
	for line := range strings.Lines(g.stderr.String()) {
		var m struct{ Msg, URL, Admin string }
		if json.Unmarshal([]byte(line), &m) == nil && m.Msg == "serving" {
			g.base, g.admin = m.URL, m.Admin
			return nil
		}
	}
	return fmt.Errorf("it does not serve:\n%s", g.stderr.String())
}

func (g *gatewayProcess) signal(sig syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(sig); err != nil {
		g.t.Fatal(err)
	}
}

// wait gives the exit status.
func (g *gatewayProcess) wait(limit time.Duration) int {
	g.t.Helper()
	select {
	case err := <-g.ended:
		g.ended <- err
		return g.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		g.t.Fatalf("still running after %v:\n%s", limit, g.stderr.String())
		return -1
	}
}

// answer is a response read to its end.
type answer struct {
	*http.Response
	body string
}

// do makes a request; header holds names and values in turn.
func (g *gatewayProcess) do(method, path, body string, header ...string) answer {
	g.t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = g.base + path
	}
	req, err := http.NewRequestWithContext(g.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if body == "" {
		req.Body = nil
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Host = req.Header.Get("Host") // net/http sends no such field; "": that of the URL
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{res, string(text)}
}

func (g *gatewayProcess) get(path string, header ...string) answer {
	g.t.Helper()
	return g.do(http.MethodGet, path, "", header...)
}

// accessLog decodes the access log.
func (g *gatewayProcess) accessLog() []map[string]any {
	g.t.Helper()
	var lines []map[string]any
	scan := bufio.NewScanner(strings.NewReader(g.stdout.String()))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var m map[string]any
		if json.Unmarshal(scan.Bytes(), &m) == nil && m["msg"] == "request" {
			lines = append(lines, m)
		}
	}
	return lines
}
