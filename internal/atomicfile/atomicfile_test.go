package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/test/crashdisk"
)

const path = "data/file"

// writers are the ways to write a file, and what each does with an existing file.
var writers = []struct {
	name    string
	write   func(d atomicfile.Disk, path string, data []byte) error
	keepsIt bool
}{
	{"replace", atomicfile.Replace, false},
	{"create", atomicfile.Create, true},
}

// crashes are the ways in which a crash may treat unsynced data.
var crashes = []struct {
	name string
	old  bool            // an unsynced change of a name is lost
	torn func(n int) int // how many unsynced bytes remain
}{
	{"nothing arrived", true, func(int) int { return 0 }},
	{"names arrived before bytes", false, func(int) int { return 0 }},
	{"half of the bytes arrived", false, func(n int) int { return n / 2 }},
	{"everything arrived", false, func(n int) int { return n }},
}

// A crash between any two operations, or a failed operation, leaves either the old file or the new
// one; after success the new one stays.
func TestACrashLeavesAFileWhole(t *testing.T) {
	for _, w := range writers {
		for _, before := range []string{"", "old"} {
			for _, c := range crashes {
				for step := 0; ; step++ {
					disk := crashdisk.New()
					if before != "" {
						disk.Put(path, []byte(before))
					}
					ended := fail(disk, step)
					err := w.write(disk, path, []byte("the new one"))
					got, there := disk.Crash(func() bool { return c.old }, c.torn).Data(path)
					want := []string{before, "the new one"}
					switch {
					case w.keepsIt && before != "":
						want = []string{before}
					case err == nil:
						want = want[1:]
					}
					if !slices.Contains(want, string(got)) || there && len(got) == 0 {
						t.Errorf("%s over %q, %s after %d operations: %q, %v", w.name, before, c.name, step, got, err)
					}
					if !ended() {
						break
					}
				}
			}
		}
	}
}

// fail makes the disk fail for good after some operations; ended reports whether that happened.
func fail(disk *crashdisk.Disk, after int) (ended func() bool) {
	failed := false
	disk.Fail(func(string) error {
		if after--; after < 0 {
			failed = true
			return syscall.EIO
		}
		return nil
	})
	return func() bool { return failed }
}

// An operation that fails once is reported, and leaves nothing behind.
func TestWhatFailsIsTold(t *testing.T) {
	for _, w := range writers {
		for _, op := range []string{"open", "write", "sync", "rename", "link", "syncDir"} {
			if w.keepsIt == (op == "rename") || !w.keepsIt && op == "link" {
				continue // this writer does not use it
			}
			disk := crashdisk.New()
			disk.Fail(crashdisk.Times(syscall.ENOSPC, map[string]int{op: 1}))
			if err := w.write(disk, path, []byte("new")); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%s: %s failed: %v", w.name, op, err)
			}
			if left := strings.Join(disk.Names(), " "); left != "" && (left != path || op != "syncDir") {
				t.Errorf("%s: %s failed, and left %s", w.name, op, left)
			}
		}
	}
}

func TestOnARealDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, text := range []string{"a long one", "short"} {
		if err := atomicfile.Replace(atomicfile.OS{}, path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); string(got) != text || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	created := filepath.Join(dir, "created")
	var all sync.WaitGroup
	for _, text := range []string{"a", "b", "c", "d"} {
		all.Go(func() {
			if err := atomicfile.Create(atomicfile.OS{}, created, []byte(text)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := os.ReadFile(created); len(got) != 1 || err != nil {
		t.Errorf("created concurrently: %q, %v", got, err)
	}
	if files, err := os.ReadDir(dir); len(files) != 2 || err != nil {
		t.Errorf("the folder holds %v, %v", files, err)
	}
}

// A folder is created with its parents; an existing one is not an error.
func TestMkdirAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := atomicfile.MkdirAll(path); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("%v, %v", info, err)
	}
	file := filepath.Join(path, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if err := atomicfile.MkdirAll(path); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}
