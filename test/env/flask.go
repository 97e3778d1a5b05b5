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

// Flask starts the Flask example under gunicorn on a free loopback port, and waits until it answers.
// env ("NAME=value") is added to the test's environment. It returns the base URL without a trailing
// slash. The test fails if gunicorn is missing.
func Flask(t T, env ...string) string {
	t.Helper()
	return FlaskIn(t, exampleDir(t), env...)
}

// FlaskIn is Flask with another application: app in app.py of a folder. It must answer GET /__stats
// with 200.
func FlaskIn(t T, dir string, env ...string) string {
	t.Helper()
	gunicorn, err := exec.LookPath("gunicorn")
	if err != nil {
		t.Fatal(installFlask)
	}
	// Gunicorn inherits the open socket, so that no other process can take its port.
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	socket := must(l.(*net.TCPListener).File())(t)
	cmd := exec.Command(gunicorn, "--config", filepath.Join(exampleDir(t), "gunicorn.conf.py"), "app:app")
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
		resp, err := client.Get(base + "/__stats") // the example does not count this request
		if err != nil {
			return err
		}
		_ = resp.Body.Close() // only the status matters
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/__stats: %s", resp.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("gunicorn: %v (%s)\n%s", err, installFlask, p.Output())
	}
	return base
}

// exampleDir finds examples/flask from a test's folder, which is below the module's root.
func exampleDir(t T) string {
	t.Helper()
	from := must(os.Getwd())(t)
	for dir := from; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "examples", "flask")
		}
		if dir == filepath.Dir(dir) {
			t.Fatalf("no go.mod above %s", from)
		}
	}
}
