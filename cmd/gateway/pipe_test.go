package main

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A policy that comes by a pipe can be read once. What was not asked of a gateway
// has not been done.
func TestReloadByAPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text := strings.Replace(smallPolicy, "data_dir: ./data", `admin: "127.0.0.1:1", data_dir: ./data`, 1)
	if _, err := io.WriteString(w, strings.ReplaceAll(text, "%q", `"http://127.0.0.1:1"`)); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	var out, errs strings.Builder
	if status := execute([]string{"reload", "--config", "/dev/fd/" + strconv.Itoa(int(r.Fd()))}, &out, &errs); status == 0 {
		t.Errorf("exit status 0, though there is no gateway; said %q, %q", out.String(), errs.String())
	}
}

// A policy in a named pipe is served, and keeps nobody from ending.
func TestRunOnAPipeEnds(t *testing.T) {
	t.Parallel()
	here, there := policyFolder(t)
	if err := syscall.Mkfifo(here+"/gateway.yaml", 0o600); err != nil {
		t.Skip(err)
	}
	go func() { // ends when the gateway has read it
		_ = os.WriteFile(here+"/gateway.yaml", []byte(strings.ReplaceAll(smallPolicy, "%q", `"http://127.0.0.1:1"`)), 0o600)
	}()
	g := start(t, nil, "run", "--config", there+"/gateway.yaml")
	time.Sleep(time.Second)
	if strings.Contains(g.stderr.String(), "policy not reloaded") {
		t.Errorf("said:\n%s", g.stderr.String())
	}
	g.signal(syscall.SIGHUP)
	g.stderr.await(t, "cannot be read a second time")
	g.signal(syscall.SIGTERM)
	if code := g.wait(5 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// A request that the gateway cuts off has not been left by its client.
func TestCutOffIsNotTheClientsDoing(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 2)
	g, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(w).Flush()
		}
		entered <- struct{}{}
		<-r.Context().Done()
	}), drainPolicy("drain: 500ms"))
	for _, path := range []string{"/stream", "/silent"} {
		go func() {
			if res, err := http.Get(g.base + path); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		}()
		<-entered
	}
	g.signal(syscall.SIGTERM)
	if code := g.wait(10 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	for _, path := range []string{"/stream", "/silent"} {
		if line := g.line(path); line["reason"] == "client left" || line["status"] == 499.0 {
			t.Errorf("%s: status %v, reason %v", path, line["status"], line["reason"])
		}
	}
}
