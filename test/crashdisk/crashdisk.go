// Package crashdisk is a disk for tests. Its operations fail when a test says so, and in a crash it
// loses what was not synced, as a real disk may. It holds files in memory and has no folders.
package crashdisk

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/jewgo/gateway/internal/atomicfile"
)

// Disk is an atomicfile.Disk.
type Disk struct {
	mu      sync.Mutex            // guards the fields below, and every inode
	names   map[string]*inode     // as processes see them
	durable map[string]*inode     // as a crash leaves them
	fault   func(op string) error // see Fail
}

var _ atomicfile.Disk = (*Disk)(nil)

type inode struct {
	data, durable []byte
	// lost: a sync failed. As on Linux, the pages count as clean afterwards, so that the next sync
	// succeeds without writing them.
	lost bool
}

// New returns an empty disk that works.
func New() *Disk {
	d := &Disk{names: map[string]*inode{}, durable: map[string]*inode{}}
	d.Fail(nil)
	return d
}

// Fail sets a function that is called before each operation: open, link, rename, remove, syncDir and,
// for files, read, write, truncate, sync. Its error becomes the operation's. Calls never overlap, and
// must not use the disk. nil: nothing fails.
func (d *Disk) Fail(fault func(op string) error) {
	if fault == nil {
		fault = func(string) error { return nil }
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

// Times returns a fault: each operation in times fails with err that many times; negative: always. It
// changes times.
func Times(err error, times map[string]int) func(op string) error {
	return func(op string) error {
		n := times[op]
		if n == 0 {
			return nil
		}
		times[op] = n - 1
		return &fs.PathError{Op: op, Path: "disk", Err: err}
	}
}

// Put writes a file that is already synced.
func (d *Disk) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := &inode{data: slices.Clone(data), durable: slices.Clone(data)}
	d.names[name], d.durable[name] = i, i
}

// Data returns the content of a file, synced or not; false: there is no such file.
func (d *Disk) Data(name string) ([]byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.names[name]
	if !ok {
		return nil, false
	}
	return slices.Clone(i.data), true
}

// Names returns the names of all files, sorted.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names))
}

// Crash returns the disk after a crash of the machine. Synced data is there. For a name with an
// unsynced change, old decides whether the change is lost; of n unsynced bytes at a file's end, torn
// says how many were written.
func (d *Disk) Crash(old func() bool, torn func(n int) int) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := New()
	keep := func(name string, i *inode) {
		if i == nil { // there was no such file
			return
		}
		data := i.durable
		if unsynced := len(i.data) - len(data); unsynced > 0 && !i.lost {
			data = slices.Concat(data, i.data[len(data):len(data)+torn(unsynced)])
		}
		after.Put(name, data)
	}
	all := maps.Clone(d.durable)
	maps.Copy(all, d.names)
	for name := range all {
		now, before := d.names[name], d.durable[name]
		if now != before && old() {
			now = before
		}
		keep(name, now)
	}
	return after
}

// Restart returns the disk after only the process was killed: everything is there, synced or not.
func (d *Disk) Restart() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := New()
	copies := map[*inode]*inode{} // a file may have several names
	copied := func(names, to map[string]*inode) {
		for name, i := range names {
			if copies[i] == nil {
				copies[i] = &inode{data: slices.Clone(i.data), durable: slices.Clone(i.durable), lost: i.lost}
			}
			to[name] = copies[i]
		}
	}
	copied(d.names, after.names)
	copied(d.durable, after.durable)
	return after
}

// do runs an operation under the lock, unless it must fail.
func (d *Disk) do(op string, run func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(op); err != nil {
		return err
	}
	return run()
}

// Open implements atomicfile.Disk.
func (d *Disk) Open(name string, flag int) (f atomicfile.File, err error) {
	err = d.do("open", func() error {
		i := d.names[name]
		switch {
		case i == nil && flag&os.O_CREATE == 0:
			return fs.ErrNotExist
		case i == nil:
			i = &inode{}
			d.names[name] = i
		case flag&os.O_EXCL != 0:
			return fs.ErrExist
		}
		if flag&os.O_TRUNC != 0 {
			i.data, i.lost = nil, false // the old pages are gone
		}
		f = &file{d: d, i: i}
		return nil
	})
	return f, err
}

// Rename implements atomicfile.Disk.
func (d *Disk) Rename(from, to string) error {
	return d.do("rename", func() error {
		d.names[to] = d.names[from]
		delete(d.names, from)
		return nil
	})
}

// Link implements atomicfile.Disk.
func (d *Disk) Link(from, to string) error {
	return d.do("link", func() error {
		if d.names[to] != nil {
			return fs.ErrExist
		}
		d.names[to] = d.names[from]
		return nil
	})
}

// Remove implements atomicfile.Disk.
func (d *Disk) Remove(name string) error {
	return d.do("remove", func() error { delete(d.names, name); return nil })
}

// SyncDir implements atomicfile.Disk.
func (d *Disk) SyncDir(string) error {
	return d.do("syncDir", func() error { d.durable = maps.Clone(d.names); return nil })
}

type file struct {
	d    *Disk
	i    *inode
	read int
}

func (f *file) Read(b []byte) (n int, err error) {
	err = f.d.do("read", func() error {
		n = copy(b, f.i.data[min(f.read, len(f.i.data)):])
		f.read += n
		if n == 0 {
			return io.EOF
		}
		return nil
	})
	return n, err
}

// WriteAt writes half of b when it fails.
func (f *file) WriteAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.fault("write")
	if err != nil {
		b = b[:len(b)/2]
	}
	if missing := int(at) + len(b) - len(f.i.data); missing > 0 {
		f.i.data = append(f.i.data, make([]byte, missing)...)
	}
	copy(f.i.data[at:], b)
	return len(b), err
}

func (f *file) Truncate(size int64) error {
	return f.d.do("truncate", func() error { f.i.data = slices.Clone(f.i.data[:size]); return nil })
}

func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.fault("sync"); err != nil {
		f.i.lost = true
		return err
	}
	if !f.i.lost {
		f.i.durable = slices.Clone(f.i.data)
	}
	return nil
}

func (f *file) Close() error { return nil }
