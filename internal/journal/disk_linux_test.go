package journal

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// tmpfs mounts a file system of this size in KiB, or skips the test.
func tmpfs(t *testing.T, size string) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a disk that is full or read-only")
	}
	dir = t.TempDir()
	if err := syscall.Mount("journal-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("a real disk that is full or read-only cannot be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestRealFullDisk(t *testing.T) {
	dir := tmpfs(t, "256k")
	j := open(t, Config{Dir: dir})
	filler := dir + "/filler"
	if err := os.WriteFile(filler, make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var acknowledged []Record
	var full error
	for i := uint64(1); full == nil; i++ {
		r := rec(strings.Repeat("k", int(i)), i)
		r.Value = make([]byte, 20<<10)
		if full = j.Append(t.Context(), r); full == nil {
			acknowledged = append(acknowledged, r)
		}
	}
	if !errors.Is(full, syscall.ENOSPC) || len(acknowledged) == 0 {
		t.Fatalf("after %d records: %v", len(acknowledged), full)
	}
	wantState(t, j, Degraded, "no space left")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	last := rec("last", 1)
	appendAll(t, j, last)
	wantState(t, j, OK, "")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Config{Dir: dir})
	if err := within(append(acknowledged, last), j.Records()); err != nil {
		t.Error(err)
	}
	if got, want := len(j.Records()), len(acknowledged)+2; got != want { // including the one that did not fit at first
		t.Errorf("%d records, want %d", got, want)
	}
}

func TestRealReadOnlyDisk(t *testing.T) {
	dir := tmpfs(t, "256k")
	j := open(t, Config{Dir: dir})
	appendAll(t, j, rec("a", 1))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("journal-test", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=256k"); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	j = open(t, Config{Dir: dir, Retry: 10 * time.Millisecond})
	wantKeys(t, j, "a")
	wantState(t, j, Degraded, "read-only")
	if err := j.Append(t.Context(), rec("b", 1)); !errors.Is(err, syscall.EROFS) {
		t.Errorf("got %v", err)
	}
	wantKeys(t, j, "a", "b")
	remount(0)
	env.Until(t, "it notices by itself that it can write again", func() bool { return j.Status().State == OK })
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, open(t, Config{Dir: dir}), "a", "b")
}
