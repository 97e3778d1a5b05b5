package env

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const installFlask = "apt-get install python3-flask gunicorn"

// Flask starts the backend of examples/jewgo under gunicorn on a free loopback port, and waits until it
// answers. env ("NAME=value") is added to the test's environment. It returns the base URL without a
// trailing slash. The test fails if gunicorn is missing.
func Flask(t T, env ...string) string {
	t.Helper()
	return FlaskIn(t, example(t, "jewgo"), env...)
}

// FlaskIn is Flask with another application: app in app.py of a folder, under the folder's own
// gunicorn.conf.py or, without one, that of examples/flask. It must answer GET /healthz with 200.
func FlaskIn(t T, dir string, env ...string) string {
	t.Helper()
	gunicorn, err := exec.LookPath("gunicorn")
	if err != nil {
		t.Fatal(installFlask)
	}
	// Gunicorn inherits the open socket, so that no other process can take its port.
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	socket := must(l.(*net.TCPListener).File())(t)
	config := filepath.Join(dir, "gunicorn.conf.py")
	if _, err := os.Stat(config); err != nil {
		config = filepath.Join(example(t, "flask"), "gunicorn.conf.py")
	}
	cmd := exec.Command(gunicorn, "--config", must(filepath.Abs(config))(t), "app:app")
	cmd.Dir = dir
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "BIND=fd://3")
	cmd.Env = append(cmd.Env, env...)
	p := Start(t, cmd)
	_, _ = socket.Close(), l.Close()              // the server has its own copy
	t.Cleanup(func() { p.Stop(syscall.SIGQUIT) }) // gunicorn's quick shutdown
	base := "http://" + l.Addr().String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: startTimeout}
	err = p.Await(func() error {
		resp, err := client.Get(base + "/healthz")
		if err != nil {
			return err
		}
		_ = resp.Body.Close() // only the status matters
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/healthz: %s", resp.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("gunicorn: %v (%s)\n%s", err, installFlask, p.Output())
	}
	return base
}

// example finds a folder of examples/ from a test's folder, which is below the module's root.
func example(t T, name string) string {
	t.Helper()
	from := must(os.Getwd())(t)
	for dir := from; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "examples", name)
		}
		if dir == filepath.Dir(dir) {
			t.Fatalf("no go.mod above %s", from)
		}
	}
}
