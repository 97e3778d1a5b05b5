package cache

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"
)

// reserveAtOnce is the largest body, in bytes, whose memory is allocated before it arrives.
const reserveAtOnce = 1 << 20

// recorder copies a body while it is read and commits the copy at its clean end.
type recorder struct {
	io.ReadCloser
	want   int64 // length by Content-Length; -1: unknown
	limit  int64
	held   *atomic.Int64     // bytes in all recordings
	bound  int64             // limit of held, beyond which bodies are not recorded
	got    int64             // bytes read
	body   []byte            // recorded so far; its bytes never change
	commit func(body []byte) // nil once the recording has ended or was dropped
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.add(p[:n])
	if err != nil {
		err = r.end(err)
	}
	return n, err
}

// add records more of the body and reports whether all of it is recorded so far.
func (r *recorder) add(p []byte) bool {
	r.got += int64(len(p))
	if r.commit == nil {
		return false
	}
	if r.got > r.limit || !r.reserve(int64(len(p))) {
		r.drop()
		return false
	}
	if r.body == nil && r.want > 0 && r.want <= reserveAtOnce {
		r.body = make([]byte, 0, r.want)
	}
	r.body = append(r.body, p...)
	return true
}

// end takes the error that ended reading. It commits a complete body, and returns the error for the
// body's readers: one shorter or longer than its announced length is broken, whatever the transport
// says.
func (r *recorder) end(err error) error {
	defer r.drop()
	if !errors.Is(err, io.EOF) {
		return err
	}
	if r.want >= 0 && r.want != r.got {
		return io.ErrUnexpectedEOF
	}
	if r.commit != nil {
		r.body = fit(r.body)
		r.commit(r.body)
	}
	return io.EOF
}

// reserve counts n more bytes if there is room for them.
func (r *recorder) reserve(n int64) bool {
	if r.held.Add(n) > r.bound {
		r.held.Add(-n)
		return false
	}
	return true
}

// Close drops the recording of a body that was not read to its end.
func (r *recorder) Close() error {
	r.drop()
	return r.ReadCloser.Close()
}

func (r *recorder) drop() {
	r.held.Add(-int64(len(r.body)))
	r.body, r.commit = nil, nil
}

// fit returns b without much spare capacity, which would be kept in memory too.
func fit(b []byte) []byte {
	if cap(b)-len(b) > len(b)/8 {
		return slices.Clone(b)[:len(b):len(b)]
	}
	return b
}
