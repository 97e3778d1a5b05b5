package journal

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
)

// memFiles is a file system that forgets in a crash what was not synced, as a
// disk's cache does. fault is asked before every operation.
type memFiles struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode // names that a crash leaves
	fault   func(op string) error
}

var _ fileSystem = (*memFiles)(nil)

type inode struct {
	data, durable []byte
	// lost: a sync failed. As on Linux the pages count as clean from then on,
	// and the next sync succeeds without having written them.
	lost bool
}

func newMemFiles() *memFiles {
	return &memFiles{names: map[string]*inode{}, durable: map[string]*inode{}, fault: func(string) error { return nil }}
}

// crash is what the disk holds: durable is the least, and old says of a name
// whose change was not synced that it is lost. torn gives of an unsynced end
// how many bytes arrived.
func (m *memFiles) crash(old func() bool, torn func(n int) int) *memFiles {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFiles()
	keep := func(name string, i *inode) {
		data := i.durable
		if len(i.data) > len(data) && !i.lost {
			data = append(slices.Clip(slices.Clone(data)), i.data[len(data):len(data)+torn(len(i.data)-len(data))]...)
		}
		n := &inode{data: slices.Clone(data), durable: slices.Clone(data)}
		after.names[name], after.durable[name] = n, n
	}
	for name, i := range m.names {
		before, ok := m.durable[name]
		switch {
		case before == i || !old():
			keep(name, i)
		case ok:
			keep(name, before)
		}
	}
	for name, i := range m.durable {
		if _, ok := m.names[name]; !ok && old() {
			keep(name, i)
		}
	}
	return after
}

// restart is what the next process finds when one was killed and the machine
// goes on: everything, synced or not.
func (m *memFiles) restart() *memFiles {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFiles()
	copies := map[*inode]*inode{}
	copied := func(names, to map[string]*inode) {
		for name, i := range names {
			if copies[i] == nil {
				copies[i] = &inode{data: slices.Clone(i.data), durable: slices.Clone(i.durable), lost: i.lost}
			}
			to[name] = copies[i]
		}
	}
	copied(m.names, after.names)
	copied(m.durable, after.durable)
	return after
}

func (m *memFiles) open(name string, flag int) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault("open"); err != nil {
		return nil, err
	}
	i := m.names[name]
	if i == nil {
		if flag&os.O_CREATE == 0 {
			return nil, fs.ErrNotExist
		}
		i = &inode{}
		m.names[name] = i
	}
	if flag&os.O_TRUNC != 0 {
		i.data, i.lost = nil, false // there are no pages of before
	}
	return &memFile{m: m, i: i}, nil
}

func (m *memFiles) rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault("rename"); err != nil {
		return err
	}
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memFiles) link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault("link"); err != nil {
		return err
	}
	m.names[to] = m.names[from]
	return nil
}

func (m *memFiles) syncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault("syncDir"); err != nil {
		return err
	}
	m.durable = maps.Clone(m.names)
	return nil
}

type memFile struct {
	m    *memFiles
	i    *inode
	read int
}

func (f *memFile) Read(b []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.fault("read"); err != nil {
		return 0, err
	}
	n := copy(b, f.i.data[min(f.read, len(f.i.data)):])
	f.read += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *memFile) Write([]byte) (int, error) { return 0, errors.New("the log writes at offsets") }

// WriteAt writes half of it when it fails.
func (f *memFile) WriteAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.fault("write")
	if err != nil {
		b = b[:len(b)/2]
	}
	if end := int(at) + len(b); end > len(f.i.data) {
		f.i.data = append(f.i.data, make([]byte, end-len(f.i.data))...)
	}
	copy(f.i.data[at:], b)
	return len(b), err
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.fault("truncate"); err != nil {
		return err
	}
	f.i.data = slices.Clone(f.i.data[:size])
	return nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.fault("sync"); err != nil {
		f.i.lost = true
		return err
	}
	if !f.i.lost {
		f.i.durable = slices.Clone(f.i.data)
	}
	return nil
}

func (f *memFile) Close() error { return nil }

// failing lets the named operations fail, n times each; n < 0: always.
func failing(err error, left map[string]int) func(string) error {
	return func(op string) error {
		n := left[op]
		if n == 0 {
			return nil
		}
		left[op] = n - 1
		return &fs.PathError{Op: op, Path: "journal", Err: err}
	}
}

var errDisk = syscall.ENOSPC
