package systemd

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen stands for the service manager.
func listen(t *testing.T) (next func(limit time.Duration) string) {
	t.Helper()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("NOTIFY_SOCKET", l.LocalAddr().String())
	return func(limit time.Duration) string {
		p := make([]byte, 4096)
		_ = l.SetReadDeadline(time.Now().Add(limit))
		n, err := l.Read(p)
		if err != nil {
			return ""
		}
		return string(p[:n])
	}
}

// A process of which a part is stuck is not said to be alive, and is again when it goes on.
func TestWatch(t *testing.T) {
	next := listen(t)
	t.Setenv("WATCHDOG_USEC", "100000")
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var watching sync.WaitGroup
	watching.Go(func() {
		Watch(ctx, func() {
			mu.Lock()
			defer mu.Unlock()
		})
	})
	for range 2 {
		if got := next(10 * time.Second); got != "WATCHDOG=1" {
			t.Fatalf("%q", got)
		}
	}
	mu.Lock()
	next(200 * time.Millisecond) // one may be on its way
	if got := next(500 * time.Millisecond); got != "" {
		t.Errorf("%q of a process that is stuck", got)
	}
	mu.Unlock()
	if got := next(10 * time.Second); got != "WATCHDOG=1" {
		t.Errorf("%q", got)
	}
	cancel()
	watching.Wait()
}

// A status is one line, whatever is in it.
func TestStatus(t *testing.T) {
	next := listen(t)
	Ready("a\nWATCHDOG=trigger")
	if got, want := next(10*time.Second), "READY=1\nSTATUS=a; WATCHDOG=trigger"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	Ready("x")
	Reloaded("x")
	Stopping(time.Second)
	Watch(t.Context(), func() { t.Error("nobody wants to know") }) // returns at once
}
