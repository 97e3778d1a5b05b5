package env

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Process is a started command. One goroutine starts it and waits for it, and
// ends when it does; Stop waits for that.
type Process struct {
	t    T
	pid  int
	log  string        // file with what it says
	done chan struct{} // closed once the process has been waited for
}

// Start runs cmd, which ends with the test. What it says goes to a file.
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
		// The kernel's parent-death signal is tied to the thread that started
		// the process, so that thread must live for as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer func() { _ = out.Close() }() // the server wrote it, not this handle
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed on purpose as a rule; the log says what else
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

// startTimeout bounds how long a server may take until it answers.
const startTimeout = time.Minute

// Await asks again and again until ready returns nil. It gives up when the process
// has ended, or after a minute.
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

// Output is what the process has said so far.
func (p *Process) Output() string { return output(p.log) }

func output(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

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

// Stop sends sig, waits, and kills what has not ended after ten seconds.
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

// Kill is Stop by SIGKILL.
func (p *Process) Kill() { p.Stop(syscall.SIGKILL) }
