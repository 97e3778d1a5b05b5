package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jewgo/gateway/internal/atomicfile"
)

// The files in a journal's folder.
const (
	logName  = "journal.log"
	lockName = "journal.lock"
)

// logFile is the log on disk. Only one goroutine uses it.
type logFile struct {
	disk atomicfile.Disk
	dir  string
	lock *os.File
	f    atomicfile.File // nil: not open
	size int64           // offset of the next frame
	// broken: the file's content is unknown, so the file must be rewritten. After a failed fsync
	// the kernel may have dropped the bytes and still report success for the next fsync.
	broken bool
}

func (l *logFile) path(name string) string { return filepath.Join(l.dir, name) }

// load takes the lock and reads the log. Without the lock it still reads what it can, and returns
// the records together with the error.
//
// The log is then marked broken and so rewritten: what was read may not be on disk, since the
// previous run may have died before its fsync or after a failed one, and the kernel does not report
// that to another process.
func (l *logFile) load() (c contents, err error) {
	lockErr := l.acquire()
	if errors.Is(lockErr, ErrLocked) {
		return c, lockErr
	}
	data, err := l.read()
	if err == nil {
		c, err = parse(data)
	}
	if err = errors.Join(lockErr, err); err != nil {
		return c, err
	}
	l.broken = true
	return c, nil
}

func (l *logFile) acquire() error {
	if l.lock != nil {
		return nil
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	lock, err := lockFile(l.path(lockName))
	l.lock = lock
	return err
}

// read returns the log's bytes; a missing log has none.
func (l *logFile) read() (data []byte, err error) {
	f, err := l.disk.Open(l.path(logName), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		data, err = io.ReadAll(f)
		_ = f.Close() // opened for reading only
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return data, nil
}

// append writes records and returns when they are on disk. After an error none of them counts as
// written.
func (l *logFile) append(records []Record) error {
	n, err := writeFrames(l.f, l.size, records)
	if err != nil {
		if l.f.Truncate(l.size) != nil {
			l.broken = true
		}
		return fmt.Errorf("write journal: %w", err)
	}
	if err := l.f.Sync(); err != nil {
		l.broken = true
		return fmt.Errorf("sync journal: %w", err)
	}
	l.size += n
	return nil
}

// rewrite replaces the log by a new one with only these records. Until the rename the old one stays
// in place. If syncing the folder then fails, a crash may bring the old one back, so nothing may be
// appended to the new one until a sync succeeds.
func (l *logFile) rewrite(records []Record) error {
	size := int64(headSize)
	f, err := atomicfile.Swap(l.disk, l.path(logName), func(f atomicfile.File) error {
		if _, err := f.WriteAt(fileHead(), 0); err != nil {
			return err
		}
		n, err := writeFrames(f, size, records)
		size += n
		return err
	})
	if err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	if l.f != nil {
		_ = l.f.Close() // this file has no name any more
	}
	l.f, l.size, l.broken = f, size, true
	if err := l.disk.SyncDir(l.dir); err != nil {
		return fmt.Errorf("rewrite journal: sync folder: %w", err)
	}
	l.broken = false
	return nil
}

// writeFrames writes records at the offset, in pieces of bounded size, and returns the number of
// bytes.
func writeFrames(w io.WriterAt, at int64, records []Record) (int64, error) {
	const piece = 1 << 20
	var written int64
	var b []byte
	for i, r := range records {
		b = appendFrame(b, r)
		if len(b) < piece && i < len(records)-1 {
			continue
		}
		if _, err := w.WriteAt(b, at+written); err != nil {
			return 0, err
		}
		written, b = written+int64(len(b)), b[:0]
	}
	return written, nil
}

func (l *logFile) close() error {
	var err error
	if l.f != nil {
		err = l.f.Close()
	}
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close()) // releases the lock
	}
	return err
}
