package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// errDetached is what the transport reads after the call is over.
var errDetached = errors.New("proxy: the request is over")

// upload is a request's body on its way upstream. The transport reads it in a
// goroutine of its own, which may outlive the call; the client's body may not
// be read then. All methods work on nil, which is no body.
type upload struct {
	body     io.ReadCloser
	in       *http.Request // whose Trailer is complete at the body's end
	trailer  http.Header   // the request's that goes upstream; nil: none announced
	eof      atomic.Bool
	detached atomic.Bool

	mu  sync.Mutex // held while a read is under way
	err error      // guarded by mu: what was wrong on the client's side
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.eof.Load() {
		return 0, io.EOF // the transport asks once more, perhaps when the server has closed the body
	}
	if u.detached.Load() {
		return 0, errDetached
	}
	n, err := u.body.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		for name := range u.trailer {
			u.trailer[name] = u.in.Trailer[name]
		}
		u.eof.Store(true)
	case !u.detached.Load():
		u.err = err
	}
	return n, err
}

// Close implements io.Closer.
func (u *upload) Close() error { return u.body.Close() }

// finished reports whether the client has sent all of its body.
func (u *upload) finished() bool { return u == nil || u.eof.Load() }

// failure tells what was wrong with the client's body; nil: nothing was.
func (u *upload) failure() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// detach ends all reading from the client's body. A read that waits for the
// client is broken off, which spoils the connection for another request;
// clientWriter has it closed for that reason.
func (u *upload) detach(w http.ResponseWriter) {
	if u == nil || u.detached.Swap(true) || u.eof.Load() {
		return
	}
	if !u.mu.TryLock() {
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) // a writer without deadlines is no connection
		u.mu.Lock()
	}
	u.mu.Unlock() // no read is under way, and none will be
}
