// Package atomicfile writes files so that a crash leaves either the old content or the new one,
// complete. After a return without error the new content survives a crash. All files and folders
// that it makes are accessible to their owner only, as those must be that ReadSecret reads. Callers
// decide when to write and who may.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// unfinished is the suffix of a file that is still being written, which may be deleted.
const unfinished = ".new"

// Replace replaces the content of the file at path by data, or creates the file. Only one caller at
// a time may replace a file.
func Replace(d Disk, path string, data []byte) error {
	f, err := Swap(d, path, func(f File) error {
		_, err := f.WriteAt(data, 0)
		return err
	})
	if err != nil {
		return err
	}
	_ = f.Close() // its content is on disk
	return d.SyncDir(filepath.Dir(path))
}

// Swap replaces the file at path by a new one, which fill writes, and returns it open; the caller
// closes it. Its content then survives a crash, but its name may not: until the folder is synced
// too, a crash may bring the old file back.
func Swap(d Disk, path string, fill func(File) error) (File, error) {
	fresh := path + unfinished
	f, err := d.Open(fresh, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = d.Rename(fresh, path)
	}
	if err != nil {
		_, _ = f.Close(), d.Remove(fresh) // the next attempt truncates a leftover
		return nil, err
	}
	return f, nil
}

// Create creates a file at path that holds data. A file that exists is kept, which is not an error:
// if several processes start at once, the first one's file stays, and all of them can read it.
func Create(d Disk, path string, data []byte) error {
	fresh := path + "." + rand.Text() + unfinished
	f, err := d.Open(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = d.Link(fresh, path) // a rename would replace the file of a faster process
	}
	_ = d.Remove(fresh) // a leftover is harmless
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.SyncDir(filepath.Dir(path))
}

// MkdirAll creates a folder and its parents; an existing folder is not an error.
func MkdirAll(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(path)
	if above != path {
		if err := MkdirAll(above); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(path, 0o700); err != nil { // not Mkdir: another process may create it too
		return err
	}
	return OS{}.SyncDir(above)
}
