package atomicfile

import (
	"errors"
	"io"
	"os"
)

// Disk is the part of the operating system that this package uses. Tests make it fail, and drop
// what was not synced. Names are paths; errors are those of package os.
type Disk interface {
	// Open opens a file with the flags of package os; a new file is accessible to its owner only.
	Open(name string, flag int) (File, error)
	Rename(from, to string) error
	// Link gives a file a second name, which must not exist.
	Link(from, to string) error
	Remove(name string) error
	// SyncDir makes the names in a folder durable.
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
		return nil, err // a nil *os.File would be a non-nil File
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
