package proxy

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// holdBody has release called once when the response's body is closed, and
// bounds by progress (0: not) the time in which the upstream sends nothing. The
// body stays what it was: one that can be written to, where protocols were
// switched, and then silence is the application's affair.
func holdBody(resp *http.Response, progress time.Duration, release func()) {
	if resp.Body == http.NoBody {
		release()
		return
	}
	if conn, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = &switchedBody{ReadWriteCloser: conn, release: sync.OnceFunc(release)}
		return
	}
	resp.Body = &responseBody{ReadCloser: resp.Body, progress: progress, release: sync.OnceFunc(release)}
}

// responseBody is a response's body on its way to the client.
type responseBody struct {
	io.ReadCloser
	progress time.Duration
	release  func()
	timer    *time.Timer // runs while a read is under way; nil before the first
	stalled  atomic.Bool
}

// Read implements io.Reader. The time in which the client does not take what
// was read is not counted.
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

// stall breaks off the read under way.
func (b *responseBody) stall() {
	b.stalled.Store(true)
	_ = b.ReadCloser.Close()
}

// Close implements io.Closer.
func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.release()
	return err
}
