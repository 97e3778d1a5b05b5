package journal

import (
	"io"
	"os"
)

// fileSystem is what a log asks of the operating system; tests make it fail.
type fileSystem interface {
	open(name string, flag int) (file, error)
	rename(from, to string) error
	link(from, to string) error
	syncDir(dir string) error
}

// file is an open log.
type file interface {
	io.ReadWriteCloser
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

type osFiles struct{}

var _ fileSystem = osFiles{}

func (osFiles) open(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err // not a file that is a nil *os.File
	}
	return f, nil
}

func (osFiles) rename(from, to string) error { return os.Rename(from, to) }

func (osFiles) link(from, to string) error { return os.Link(from, to) }

func (osFiles) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
