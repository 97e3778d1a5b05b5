package main

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// manager is a service manager that hears what a gateway tells it.
type manager struct{ *net.UnixConn }

func newManager(t *testing.T) *manager {
	t.Helper()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &manager{l}
}

// hear returns the next message that holds text, and fails after limit.
func (m *manager) hear(t *testing.T, text string, limit time.Duration) string {
	t.Helper()
	if err := m.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	var others bytes.Buffer
	for p := make([]byte, 4096); ; {
		n, err := m.Read(p)
		if err != nil {
			t.Fatalf("no %q: %v after\n%s", text, err, &others)
		}
		if strings.Contains(string(p[:n]), text) {
			return string(p[:n])
		}
		_, _ = fmt.Fprintf(&others, "%s\n--\n", p[:n])
	}
}

// A gateway tells systemd when it serves, reloads, lives and stops.
func TestNotifySystemd(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	here, there := policyFolder(t)
	file := filepath.Join(here, "gateway.yaml")
	text := fmt.Sprintf(drainPolicy("lame_duck: 1s, drain: 9s"), "http://127.0.0.1:1")
	writePolicy(t, file, text)
	own(t, here)
	g := start(t, []string{"NOTIFY_SOCKET=" + m.LocalAddr().String(), "WATCHDOG_USEC=400000"}, "run", "--config", filepath.Join(there, "gateway.yaml"))
	if ready := m.hear(t, "READY=1", env.Patience); !strings.Contains(ready, "STATUS=gateway ") || !strings.Contains(ready, "serves "+filepath.Join(there, "gateway.yaml")) {
		t.Errorf("ready: %q", ready)
	}
	for range 3 {
		m.hear(t, "WATCHDOG=1", 5*time.Second)
	}
	writePolicy(t, file, "version: 1\nmistake: 1\n")
	m.hear(t, "RELOADING=1\nMONOTONIC_USEC=", env.Patience)
	m.hear(t, "READY=1", 5*time.Second)
	g.signal(syscall.SIGTERM)
	// lame_duck, drain, and what is left for last arrivals and last words.
	m.hear(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=14200000\nSTATUS=draining", 5*time.Second)
	m.hear(t, "WATCHDOG=1", 5*time.Second)
	if code := g.wait(10 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
