package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// smallPolicy has one upstream, whose URL stands for %s.
const smallPolicy = `
version: 1
server: {data_dir: ./data, timeouts: {drain: 10s, read_header: 30s}}
session: {cookie: {name: gw, secure: false}}
upstreams:
  app: {targets: [%q]}
routes:
  - {name: all, match: {path: "/{rest...}"}, upstream: app, upgrade: [websocket]}
`

// startSmall serves a policy in front of a backend; file is the policy's path here.
func startSmall(t *testing.T, backend http.Handler, text string) (g *gatewayProcess, file string) {
	t.Helper()
	upstream := httptest.NewServer(backend)
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	file = filepath.Join(here, "gateway.yaml")
	writePolicy(t, file, fmt.Sprintf(text, upstream.URL))
	own(t, here)
	return start(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml")), file
}

func writePolicy(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// slow is a backend whose answer to /slow waits until it is let go.
type slow struct{ entered, release chan struct{} }

func newSlow() *slow { return &slow{make(chan struct{}, 8), make(chan struct{})} }

func (s *slow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/slow" {
		s.entered <- struct{}{}
		select {
		case <-s.release:
		case <-r.Context().Done():
		}
	}
	_, _ = io.WriteString(w, "done")
}

func TestTermDrains(t *testing.T) {
	t.Parallel()
	backend := newSlow()
	g, _ := startSmall(t, backend, smallPolicy)
	result := make(chan string, 1)
	go func() {
		res, err := http.Get(g.base + "/slow")
		if err != nil {
			result <- err.Error()
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		result <- fmt.Sprint(res.Status, " ", string(body), " ", err)
	}()
	<-backend.entered
	g.signal(syscall.SIGTERM)
	env.Eventually(t, env.Patience, func() error {
		a := g.get(g.admin + "/readyz")
		if a.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("readyz while draining: %s", a.Status)
		}
		return nil
	})
	env.Eventually(t, env.Patience, func() error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
		if err == nil {
			_ = conn.Close()
			return errors.New("it takes new connections while draining")
		}
		return nil
	})
	close(backend.release)
	if got := <-result; got != "200 OK done <nil>" {
		t.Errorf("the request in flight: %s", got)
	}
	if code := g.wait(5 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

func TestNothingInFlightIsNoWait(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, newSlow(), smallPolicy)
	g.get("/") // leaves an idle connection
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // one that never said a word
	time.Sleep(100 * time.Millisecond)
	g.signal(syscall.SIGINT)
	if code := g.wait(3 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

func TestSecondInterruptStopsAtOnce(t *testing.T) {
	t.Parallel()
	backend := newSlow()
	g, _ := startSmall(t, backend, smallPolicy)
	go func() {
		if res, err := http.Get(g.base + "/slow"); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-backend.entered
	g.signal(syscall.SIGINT)
	g.stderr.await(t, "stopping")
	g.signal(syscall.SIGINT)
	g.wait(3 * time.Second)
	g.stderr.await(t, "stopping at once")
}

func TestReload(t *testing.T) {
	t.Parallel()
	g, file := startSmall(t, newSlow(), smallPolicy)
	if a := g.get("/gone"); a.StatusCode != http.StatusOK {
		t.Fatalf("before: %s", a.Status)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gone := string(text) + "  - {name: gone, match: {path: /gone}, deny: 410}\n"
	await := func(status int) {
		t.Helper()
		env.Eventually(t, 10*time.Second, func() error {
			if a := g.get("/gone"); a.StatusCode != status {
				return fmt.Errorf("status %s, want %d", a.Status, status)
			}
			return nil
		})
	}

	t.Run("a change of the file is enough", func(t *testing.T) {
		writePolicy(t, file, gone)
		await(http.StatusGone)
	})
	t.Run("a mistake keeps the old policy and is reported with its place", func(t *testing.T) {
		writePolicy(t, file, strings.Replace(gone, "deny: 410", "deny: 410, dney: 1", 1))
		g.stderr.await(t, `unknown key \"dney\" (did you mean \"deny\"?)`)
		await(http.StatusGone)
		if !strings.Contains(g.stderr.String(), "gateway.yaml:") {
			t.Error("the report has no place")
		}
	})
	t.Run("HUP reloads", func(t *testing.T) {
		writePolicy(t, file, string(text))
		g.signal(syscall.SIGHUP)
		await(http.StatusOK)
	})
	t.Run("what needs a restart is refused", func(t *testing.T) {
		writePolicy(t, file, strings.Replace(string(text), "data_dir: ./data", "data_dir: ./data, max_header: 1KiB", 1))
		g.stderr.await(t, "server.max_header has changed: that needs a restart")
		await(http.StatusOK)
	})
	t.Run("a new upstream is used", func(t *testing.T) {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
		defer other.Close()
		writePolicy(t, file, fmt.Sprintf(smallPolicy, other.URL))
		await(http.StatusTeapot)
	})
}

func TestReloadVerb(t *testing.T) {
	t.Parallel()
	g, file := startSmall(t, newSlow(), smallPolicy)
	there := strings.TrimPrefix(g.admin, "http://")
	config := filepath.Join(filepath.Dir(file), "gateway.yaml")
	if os.Getenv("GATEWAY_E2E_DIR") != "" {
		config = filepath.Join(os.Getenv("GATEWAY_E2E_DIR_INSIDE"), filepath.Base(filepath.Dir(file)), "gateway.yaml")
	}
	run := func(args ...string) (string, int) {
		t.Helper()
		cmd := command(t, append(args, "--config", config, "--admin", there)...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := run("reload"); code != 0 || out != "reloaded\n" {
		t.Errorf("reload: %d %q", code, out)
	}
	if out, code := run("healthcheck"); code != 0 || out != "ok\n" {
		t.Errorf("healthcheck: %d %q", code, out)
	}
	writePolicy(t, file, "version: 2\n")
	if out, code := run("reload"); code != 1 || !strings.Contains(out, "the policy in force stays: ") || !strings.Contains(out, "gateway.yaml:1:10: ") {
		t.Errorf("reload of a broken policy: %d %q", code, out)
	}
	if a := g.do("POST", g.admin+"/v1/reload", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", a.Status)
	}
	if a := g.do("POST", g.admin+"/v1/reload", "", "Authorization", "Bearer wrong"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %s", a.Status)
	}
}

// Containers mount the one file, which is edited in place outside of them: nothing
// happens in the folder that they see.
func TestReloadOfAMountedFile(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil || os.Getenv("GATEWAY_E2E_COMMAND") != "" {
		t.Skipf("no mount namespace here: %s", out)
	}
	upstream := httptest.NewServer(newSlow())
	defer upstream.Close()
	outside, inside := filepath.Join(t.TempDir(), "gateway.yaml"), filepath.Join(t.TempDir(), "gateway.yaml")
	text := fmt.Sprintf(smallPolicy, upstream.URL)
	writePolicy(t, outside, text)
	writePolicy(t, inside, "")
	g := startAs(t, func(cmd *exec.Cmd) {
		mounted := exec.Command("unshare", append([]string{"--mount", "sh", "-ec", `mount --bind "$1" "$2"; shift 2; exec "$@"`, "sh", outside, inside}, cmd.Args...)...)
		cmd.Path, cmd.Args = mounted.Path, mounted.Args
	}, "run", "--config", inside)
	writePolicy(t, outside, text+"log: {access: off}\n")
	g.stderr.await(t, "policy reloaded")
}

// A policy with a mistake is reported as such, and no other gateway is asked for it.
func TestReloadOfAPolicyWithAMistake(t *testing.T) {
	t.Parallel()
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "asked", http.StatusTeapot) }))
	defer asked.Close()
	here, there := policyFolder(t)
	own(t, here)
	for _, tt := range []struct{ name, text, want, wantNot string }{
		{"no gateway runs", "version: 1\nserver: {admin: '127.0.0.1:1'}\nroutes: [{nam: x}]\n", "gateway.yaml:3:11: ", "9901"},
		{"its own gateway is asked", "version: 1\nserver: {admin: '" + asked.Listener.Addr().String() + "'}\nroutes: [{nam: x}]\n", "asked", "gateway.yaml"},
		{"which one cannot be told", "version: 1\nserver: {admin: 7, admin: 8}\n", "gateway.yaml:2:", "no gateway"},
		{"no YAML", "version: 1\nserver: [\n", "gateway.yaml:", "no gateway"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			writePolicy(t, filepath.Join(here, "gateway.yaml"), tt.text)
			cmd := command(t, "reload", "-c", filepath.Join(there, "gateway.yaml"))
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), tt.want) || strings.Contains(string(out), tt.wantNot) {
				t.Errorf("exit status %d: %s", code, out)
			}
		})
	}
}

func TestUnixSockets(t *testing.T) {
	t.Parallel()
	here, there := policyFolder(t)
	upstream := httptest.NewServer(newSlow())
	defer upstream.Close()
	writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(smallPolicy, upstream.URL))
	own(t, here)
	// What a dead process left behind is no obstacle.
	stale, err := net.Listen("unix", filepath.Join(here, "admin.sock"))
	if err != nil {
		t.Skip("the system has no unix sockets here: ", err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()
	own(t, here)
	g := launch(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"), "--listen", "unix:"+filepath.Join(there, "data.sock"), "--admin", "unix:"+filepath.Join(there, "admin.sock"))
	g.stderr.await(t, "serving")
	conn, err := net.Dial("unix", filepath.Join(here, "data.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("over a socket: %s", res.Status)
	}
	out, err := command(t, "reload", "--config", filepath.Join(there, "gateway.yaml"), "--token-file", "/nonexistent", "--admin", "unix:"+filepath.Join(there, "admin.sock")).CombinedOutput()
	if err != nil || string(out) != "reloaded\n" {
		t.Errorf("reload over a socket, which needs no token: %v %q", err, out)
	}
}

// A proxy that connects by the socket speaks for its clients while the socket's mode
// keeps others out.
func TestSocketModeSaysWhoIsBelieved(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode           string
		want           os.FileMode
		client, scheme string
	}{
		{"", 0o660, "203.0.113.7", "https"},
		{"socket_mode: 0600, ", 0o600, "203.0.113.7", "https"},
		{"socket_mode: '0666', ", 0o666, "", "http"},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			here, there := policyFolder(t)
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Proto"))
			}))
			defer upstream.Close()
			text := strings.Replace(fmt.Sprintf(smallPolicy, upstream.URL), "server: {", "server: {"+tt.mode, 1)
			writePolicy(t, filepath.Join(here, "gateway.yaml"), text)
			own(t, here)
			g := launch(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"), "--listen", "unix:"+filepath.Join(there, "data.sock"), "--admin", "127.0.0.1:0")
			g.stderr.await(t, "serving")
			socket := filepath.Join(here, "data.sock")
			if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != tt.want {
				t.Errorf("mode %v, %v; want %v", info.Mode(), err, tt.want)
			}
			conn, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: HTTPS\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != tt.client+" "+tt.scheme {
				t.Errorf("the upstream is told %q, %v", body, err)
			}
			if warned := strings.Contains(g.stderr.String(), "every user may connect to the socket"); warned != (tt.client == "") {
				t.Errorf("warned: %v", warned)
			}
		})
	}
}

func TestAddressTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := command(t, "demo", "--listen", l.Addr().String(), "--admin", "127.0.0.1:0")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "listen on "+l.Addr().String()) {
		t.Errorf("exit status %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}
