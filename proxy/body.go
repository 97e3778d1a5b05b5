package proxy

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// holdBody ends the stay when the response's body is closed, and ends a read in which the upstream
// sends nothing for progress (0: no bound). After a protocol switch the body stays writable and has
// no bound: silence is up to the application.
func holdBody(resp *http.Response, progress time.Duration, s *stay) {
	if resp.Body == http.NoBody {
		s.end()
		return
	}
	if conn, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = &switchedBody{ReadWriteCloser: conn, release: s.end}
		return
	}
	s.body = responseBody{ReadCloser: resp.Body, progress: progress, stay: s}
	resp.Body = &s.body
}

// responseBody is a response's body on its way to the client.
type responseBody struct {
	io.ReadCloser
	progress time.Duration
	stay     *stay
	timer    *time.Timer // runs while a read is under way; nil before the first
	stalled  atomic.Bool
}

// Read implements io.Reader. Time spent waiting for the client between reads does not count.
func (b *responseBody) Read(p []byte) (int, error) {
	if b.progress > 0 {
		if b.timer == nil {
			b.timer = time.AfterFunc(b.progress, b.stall)
		} else {
			b.timer.Reset(b.progress)
		}
		defer b.timer.Stop()
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.stalled.Load() {
		err = errStalled
	}
	return n, err
}

// stall aborts the read in progress.
func (b *responseBody) stall() {
	b.stalled.Store(true)
	_ = b.ReadCloser.Close()
}

// Close implements io.Closer.
func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.stay.end()
	return err
}

// bufferSize is how much is copied at once, in bytes: the same as io.Copy.
const bufferSize = 32 << 10

// bufferPool lends buffers for copying bodies, so that responses do not allocate them. The zero value
// works.
type bufferPool struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool. A pointer to the array costs no
// allocation, as a slice would.
func (b *bufferPool) Put(buf []byte) { b.pool.Put((*[bufferSize]byte)(buf)) }
