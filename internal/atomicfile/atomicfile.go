// Package atomicfile writes files that a crash leaves whole: as they were before,
// or as they are to be. What has returned without an error outlives a crash. All
// that it makes is for its owner alone. Who may write a file, and when, is left to
// others.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// unfinished ends the name of a file that is being written: it is worth nothing.
const unfinished = ".new"

// Replace makes data all that the file at path holds, made if it is missing. One
// caller at a time may replace a file.
func Replace(d Disk, path string, data []byte) error {
	f, err := Swap(d, path, func(f File) error {
		_, err := f.WriteAt(data, 0)
		return err
	})
	if err != nil {
		return err
	}
	_ = f.Close() // what it holds is on disk
	return d.SyncDir(filepath.Dir(path))
}

// Swap puts a new file, which fill writes, in the place of the one at path, and
// returns it open for the caller to close. What it holds then outlives a crash,
// that it has this name need not: until the folder has been synced too, a crash
// may bring the old file back.
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
		_, _ = f.Close(), d.Remove(fresh) // the next attempt truncates what is left
		return nil, err
	}
	return f, nil
}

// Create makes a file at path that holds data, unless there is one, which is no
// error: of several processes that start at once the fastest one's stands, and
// all of them may read it then.
func Create(d Disk, path string, data []byte) error {
	fresh := path + "." + rand.Text() + unfinished
	f, err := d.Open(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = d.Link(fresh, path) // a rename would replace a faster one's
	}
	_ = d.Remove(fresh) // a leftover is harmless
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.SyncDir(filepath.Dir(path))
}

// MkdirAll makes a folder and those above it; one that is there is no error.
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
	if err := os.MkdirAll(path, 0o700); err != nil { // another process may be as fast
		return err
	}
	return OS{}.SyncDir(above)
}
