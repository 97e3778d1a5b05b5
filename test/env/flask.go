package env

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const installFlask = "apt-get install python3-flask gunicorn"

// Flask starts the Flask example under gunicorn on a free loopback port, with
// env ("NAME=value") over the test's own environment, waits until it answers,
// and returns its base URL without a slash at the end. The test fails if
// gunicorn is missing.
func Flask(t T, env ...string) string {
	t.Helper()
	example, err := exampleDir()
	if err != nil {
		t.Fatal(err)
	}
	return FlaskIn(t, example, env...)
}

// FlaskIn is Flask with another application: app in app.py of a folder, which
// answers GET /__stats with 200.
func FlaskIn(t T, dir string, env ...string) string {
	t.Helper()
	gunicorn, err := exec.LookPath("gunicorn")
	if err != nil {
		t.Fatal(installFlask)
	}
	example, err := exampleDir()
	if err != nil {
		t.Fatal(err)
	}
	// Gunicorn is given the open socket: so nobody can take its port.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(gunicorn, "--config", filepath.Join(example, "gunicorn.conf.py"), "app:app")
	cmd.Dir = dir
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "BIND=fd://3")
	cmd.Env = append(cmd.Env, env...)
	p := Start(t, cmd)
	for _, closer := range []interface{ Close() error }{socket, l} { // the server has its own copy
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
	if err != nil {
		t.Fatalf("gunicorn: %v", err)
	}
	t.Cleanup(func() { p.Stop(syscall.SIGQUIT) }) // the quick one of gunicorn's shutdowns
	base := "http://" + l.Addr().String()
	// Of all requests, the example does not count this one.
	if err := awaitHTTP(p, base+"/__stats"); err != nil {
		t.Fatalf("gunicorn: %v (%s)\n%s", err, installFlask, p.Output())
	}
	return base
}

func awaitHTTP(p *Process, url string) error {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: startTimeout}
	var err error
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var resp *http.Response
		if resp, err = client.Get(url); err == nil {
			err = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return err
			}
			return fmt.Errorf("%s: status %d", url, resp.StatusCode)
		}
		if !p.Running() {
			return fmt.Errorf("exited: %w", err)
		}
	}
	return fmt.Errorf("no answer in %v: %w", startTimeout, err)
}

// exampleDir finds examples/flask from a test's folder, which lies below the
// module's root.
func exampleDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for from := dir; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "examples", "flask"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above %s", from)
		}
	}
}
