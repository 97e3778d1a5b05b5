package reload_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/reload"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// A changed file that was unreadable is read once it is readable, although only its permissions
// have changed since.
func TestRunReadsWhatHasBecomeReadable(t *testing.T) {
	r, file, outcomes := reloader(t)
	load := r.Load
	r.Load = func() (*policy.Snapshot, error) { // root can read everything
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o444 == 0 {
			return nil, &os.PathError{Op: "open", Path: file, Err: syscall.EACCES}
		}
		return load()
	}
	run(t, r, nil, file)
	time.Sleep(4 * every)
	next := filepath.Join(filepath.Dir(file), "next")
	write(t, next, good+"log: {access: off}\n")
	if err := os.Chmod(next, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
	if err := env.Receive(t, "it is read", outcomes); err == nil {
		t.Fatal("the file could be read")
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := env.Receive(t, "it is read again", outcomes); err != nil {
		t.Error(err)
	}
}

// A pipe was read when the policy was loaded, and has no writer any more. Run must still end.
func TestRunEndsWithAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	r := &reload.Reloader{
		Load: func() (*policy.Snapshot, error) { return policy.Load(pipe, nil) },
		Live: &policy.Live{}, Every: every, Report: func(*policy.Snapshot, error) {},
	}
	first, err := policy.Parse(pipe, []byte(good), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Live.Store(first)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx, nil, pipe) }()
	time.Sleep(10 * every)
	cancel()
	select {
	case <-ended:
	case <-time.After(env.Patience):
		t.Error("Run goes on")
		if f, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil { // unblocks a reader
			_ = f.Close()
		}
		<-ended
	}
}
