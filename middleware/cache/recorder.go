package cache

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"
)

// reserveAtOnce is the largest body that gets its memory before it has come.
const reserveAtOnce = 1 << 20

// recorder copies a body while it is read and commits the copy at its clean end.
type recorder struct {
	io.ReadCloser
	want   int64 // length by Content-Length; -1: unknown
	limit  int64
	held   *atomic.Int64 // bytes in all recordings
	bound  int64         // of held: beyond it a body passes unrecorded
	body   []byte
	commit func(body []byte) // nil once the recording has ended, either way
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.commit == nil {
		return n, err
	}
	total := int64(len(r.body)) + int64(n)
	if total > r.limit || err != nil && !errors.Is(err, io.EOF) || !r.reserve(int64(n)) {
		r.drop()
		return n, err
	}
	if r.body == nil && r.want > 0 && r.want <= reserveAtOnce {
		r.body = make([]byte, 0, r.want)
	}
	r.body = append(r.body, p[:n]...)
	if err != nil {
		if r.want < 0 || r.want == total {
			r.commit(fit(r.body))
		}
		r.drop()
	}
	return n, err
}

// reserve counts n more bytes if there is room for them.
func (r *recorder) reserve(n int64) bool {
	if r.held.Add(n) > r.bound {
		r.held.Add(-n)
		return false
	}
	return true
}

// Close ends the recording: what was not read to its end is not whole.
func (r *recorder) Close() error {
	r.drop()
	return r.ReadCloser.Close()
}

func (r *recorder) drop() {
	r.held.Add(-int64(len(r.body)))
	r.body, r.commit = nil, nil
}

// fit returns b without much unused memory behind it, since that is kept too.
func fit(b []byte) []byte {
	if cap(b)-len(b) > len(b)/8 {
		return slices.Clone(b)[:len(b):len(b)]
	}
	return b
}
