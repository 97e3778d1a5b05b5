package env

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Process is a started command. One goroutine starts it, waits for it and ends with it; Stop waits for
// that.
type Process struct {
	t    T
	pid  int
	log  string        // file with its output
	done chan struct{} // closed when the process has ended
}

// Start runs cmd, which ends with the test. Its output goes to a file.
func Start(t T, cmd *exec.Cmd) *Process {
	t.Helper()
	p := must(start(t, cmd, filepath.Join(t.TempDir(), "log")))(t)
	t.Cleanup(p.Kill)
	return p
}

// start runs cmd with its output appended to the file log.
func start(t T, cmd *exec.Cmd, log string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	dieWithParent(cmd)
	p := &Process{t: t, log: log, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that started the process ends, so
		// that thread must live as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer func() { _ = out.Close() }() // nothing was written through this handle
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // usually killed on purpose; otherwise the log has the reason
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// startTimeout bounds the start of a server.
const startTimeout = time.Minute

// Await calls ready until it returns nil. It fails when the process has ended, or after a minute.
func (p *Process) Await(ready func() error) error {
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		err := ready()
		switch {
		case err == nil:
			return nil
		case !p.Running():
			return fmt.Errorf("exited: %w", err)
		case time.Now().After(deadline):
			return fmt.Errorf("no answer in %v: %w", startTimeout, err)
		}
	}
}

// Output returns the output of the process so far.
func (p *Process) Output() string { return output(p.log) }

func output(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Pid returns the number of the process.
func (p *Process) Pid() int { return p.pid }

// Signal sends sig; a process that has already ended is left alone, since its
// number may belong to another by now.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if !p.Running() {
		return
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Errorf("signal %v to process %d: %v", sig, p.pid, err)
	}
}

// Stop sends sig and waits. After ten seconds it kills the process.
func (p *Process) Stop(sig syscall.Signal) {
	p.t.Helper()
	p.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// Kill is Stop with SIGKILL.
func (p *Process) Kill() { p.Stop(syscall.SIGKILL) }

// Serving reads the URLs of a gateway's listeners from its log; "" until it serves.
func Serving(log string) (url, admin string) {
	for line := range strings.Lines(log) {
		var m struct{ Msg, URL, Admin string }
		if json.Unmarshal([]byte(line), &m) == nil && m.Msg == "serving" {
			return m.URL, m.Admin
		}
	}
	return "", ""
}
