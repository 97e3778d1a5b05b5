package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// startLogging starts a gateway whose logs go elsewhere, as set says, in front of
// an upstream that is not there.
func startLogging(t *testing.T, set func(*exec.Cmd)) *gatewayProcess {
	t.Helper()
	here, there := policyFolder(t)
	writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(smallPolicy, "http://127.0.0.1:1"))
	own(t, here)
	return startAs(t, set, "run", "--config", filepath.Join(there, "gateway.yaml"))
}

// served asks the gateway for what its dead upstream makes a 502, at once.
func (g *gatewayProcess) served(path string) {
	g.t.Helper()
	began := time.Now()
	if res := g.get(path); res.StatusCode != http.StatusBadGateway {
		g.t.Fatalf("status %d", res.StatusCode)
	}
	if took := time.Since(began); took > 10*time.Second {
		g.t.Fatalf("it took %v", took)
	}
}

// A log's reader that ends is no reason to stop: it may be replaced.
func TestLogReaderThatIsGone(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Opened for both, so that neither side waits for the other.
	both, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	g := startLogging(t, func(cmd *exec.Cmd) { cmd.Stdout = writer })
	_ = writer.Close()
	g.served("/before")
	_ = both.Close() // the last reader
	env.Eventually(t, 20*time.Second, func() error {
		g.served("/gone")
		if g.metric(t, "gateway_log_dropped_total") == 0 {
			return fmt.Errorf("no line was dropped")
		}
		return nil
	})

	reader, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	g.served("/back")
	scan := bufio.NewScanner(reader) // which finds first what the pipe still held
	for scan.Scan() && !strings.Contains(scan.Text(), `"uri":"/back"`) {
		if strings.Contains(scan.Text(), `"uri":"/gone"`) {
			t.Errorf("read %s", scan.Text())
		}
	}
	if !strings.Contains(scan.Text(), `"uri":"/back"`) {
		t.Errorf("the log is not written again: %v", scan.Err())
	}
	g.signal(syscall.SIGTERM)
	if code := g.wait(20 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// readUntil reads up to a text; whoever writes to its pipe finds it closed then.
type readUntil struct {
	*output
	last string
}

func (r readUntil) Write(p []byte) (int, error) {
	n, err := r.output.Write(p)
	if strings.Contains(r.String(), r.last) {
		return n, io.ErrClosedPipe
	}
	return n, err
}

// Nor is one of the other log's.
func TestErrorLogReaderThatIsGone(t *testing.T) {
	t.Parallel()
	g := startLogging(t, func(cmd *exec.Cmd) { cmd.Stderr = readUntil{cmd.Stderr.(*output), `"msg":"serving"`} })
	for range 10 {
		g.served("/") // a warning each
	}
	env.Eventually(t, 20*time.Second, func() error {
		if n := g.metric(t, "gateway_log_dropped_total"); n < 10 {
			return fmt.Errorf("%v lines dropped", n)
		}
		return nil
	})
}

// startUnread is startLogging to a pipe that nobody reads yet.
func startUnread(t *testing.T) (g *gatewayProcess, accessLog *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	g = startLogging(t, func(cmd *exec.Cmd) { cmd.Stdout = write })
	_ = write.Close()
	return g, read
}

// A log that nobody reads fills up. Requests do not wait for it, warnings are
// told all the same, and the end does not take for ever.
func TestLogReaderThatDoesNotRead(t *testing.T) {
	t.Parallel()
	g, _ := startUnread(t)
	uri := "/?" + strings.Repeat("x", 3000)
	for range 900 { // 3.5 MB of lines: more than pipe and queue hold
		g.served(uri)
	}
	if g.metric(t, "gateway_log_dropped_total") == 0 {
		t.Error("no line was dropped")
	}
	if n := strings.Count(g.stderr.String(), "request not answered by its upstream"); n != 900 {
		t.Errorf("%d of 900 warnings", n)
	}
	g.signal(syscall.SIGTERM)
	if code := g.wait(20 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// A reader that is slow to come gets every line that was kept, up to the last.
func TestLogIsFlushedAtTheEnd(t *testing.T) {
	t.Parallel()
	g, read := startUnread(t)
	const lines = 1000 // some 300 KB
	for i := range lines {
		g.served(fmt.Sprintf("/%d", i))
	}
	g.signal(syscall.SIGTERM)
	text, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"msg":"request"`); n != lines {
		t.Errorf("%d lines, want %d", n, lines)
	}
	if !strings.Contains(string(text), fmt.Sprintf(`"uri":"/%d"`, lines-1)) {
		t.Error("the last line is missing")
	}
}
