package env

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// process is a started command. One goroutine starts it and waits for it, and
// ends when it does; stop waits for that.
type process struct {
	pid  int
	done chan struct{} // closed once the process has been waited for
}

// start runs cmd with its output appended to the file log.
func start(cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	dieWithParent(cmd)
	p := &process{done: make(chan struct{})}
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

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends sig; a process that has already ended is left alone, since its
// number may belong to another by now.
func (p *process) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if !p.running() {
		return
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal %v to process %d: %v", sig, p.pid, err)
	}
}

// stop sends sig, waits, and kills what has not ended after ten seconds.
func (p *process) stop(t testing.TB, sig syscall.Signal) {
	t.Helper()
	p.signal(t, sig)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.signal(t, syscall.SIGKILL)
		<-p.done
	}
}

// output is what the server printed, for the message of a failed start.
func output(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
