package atomicfile

import (
	"errors"
	"io"
	"os"
)

// Disk is what is asked of the operating system; tests make it fail, and forget
// what was not synced. Names are paths, and errors those of package os.
type Disk interface {
	// Open opens a file by the flags of package os, or makes one for its owner
	// alone.
	Open(name string, flag int) (File, error)
	Rename(from, to string) error
	// Link gives a file a second name, which must be a new one.
	Link(from, to string) error
	Remove(name string) error
	// SyncDir makes durable which files a folder holds by which names.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReadCloser
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// OS is the operating system's Disk.
type OS struct{}

var _ Disk = OS{}

// Open implements Disk.
func (OS) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err // not a File that is a nil *os.File
	}
	return f, nil
}

// Rename implements Disk.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Link implements Disk.
func (OS) Link(from, to string) error { return os.Link(from, to) }

// Remove implements Disk.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements Disk.
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
