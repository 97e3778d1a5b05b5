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

// errClosed is what it reads once the upstream takes no more.
var errClosed = errors.New("proxy: upstream closed the connection before it answered")

// upload is a request's body on its way upstream. The transport reads it in its own goroutine, which
// may outlive the call; the client's body must not be read then. The methods that a call uses work on
// nil, which is no body.
type upload struct {
	body     io.ReadCloser
	client   http.ResponseWriter // of the connection that the body comes from
	in       *http.Request       // its Trailer is complete at the body's end
	trailer  http.Header         // of the request that goes upstream; nil: none announced
	eof      atomic.Bool
	detached atomic.Bool
	broken   atomic.Bool                // breakOff aborted a read: its error is not the client's
	upstream atomic.Pointer[movingConn] // the connection it goes to; nil: none yet
	shared   atomic.Bool                // upstream is HTTP/2: the stream may end before it
	closed   atomic.Bool                // the transport reads no more

	ending      sync.Mutex // held while a read is aborted
	answered    bool       // the upstream's header has arrived; guarded by ending
	interrupted bool       // guarded by ending

	mu  sync.Mutex // held during a read
	err error      // of the client's side; guarded by mu
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.eof.Load() {
		return 0, io.EOF // the transport reads once more, perhaps after the server has closed the body
	}
	if err := u.needless(); err != nil {
		return 0, err
	}
	n, err := u.body.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		for name := range u.trailer {
			u.trailer[name] = u.in.Trailer[name]
		}
		u.eof.Store(true)
	case u.broken.Load():
		err = u.needless()
	default:
		u.err = err
	}
	return n, err
}

// needless returns an error if nothing takes the bytes of a read any more.
func (u *upload) needless() error {
	switch conn := u.upstream.Load(); {
	case u.detached.Load():
		return errDetached
	case u.closed.Load(), conn != nil && conn.ended.Load():
		return errClosed
	}
	return nil
}

// Close implements io.Closer. HTTP/2 closes the body of an ended stream in its own goroutine, and
// then waits for the pending read.
func (u *upload) Close() error {
	if u.shared.Load() {
		u.closed.Store(true)
		u.interrupt(u.upstream.Load())
	}
	return u.body.Close()
}

// finished reports whether the client has sent all of its body.
func (u *upload) finished() bool { return u == nil || u.eof.Load() }

// failure returns the error of the client's body, or nil.
func (u *upload) failure() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// detach ends all reading from the client's body. A pending read is aborted, so the connection cannot
// serve another request; clientWriter makes the server close it.
func (u *upload) detach() {
	if u == nil {
		return
	}
	u.ending.Lock()
	defer u.ending.Unlock()
	if !u.detached.Swap(true) {
		u.breakOff()
	}
	if conn := u.upstream.Load(); conn != nil {
		conn.carried.CompareAndSwap(u, nil)
	}
}

// interrupt aborts a pending read after conn, which the body goes to, has ended without a response.
// The transport would wait for the read, and the client may be silent for long. To the server it
// looks as if the client had disconnected.
func (u *upload) interrupt(conn *movingConn) {
	u.ending.Lock()
	defer u.ending.Unlock()
	if u.in.Context().Err() != nil { // the client disconnected, so its read has ended
		return
	}
	if u.upstream.Load() == conn && !u.answered && !u.eof.Load() && !u.detached.Load() { // afterwards the connection may serve another request
		u.interrupted = true
		u.breakOff()
	}
}

// answer notes that the upstream's header has arrived.
func (u *upload) answer() {
	u.ending.Lock()
	defer u.ending.Unlock()
	u.answered = true
	if conn := u.upstream.Load(); conn != nil && u.eof.Load() { // the connection may get another request now
		conn.carried.CompareAndSwap(u, nil)
	}
}

// await notes that the header was an interim one.
func (u *upload) await() {
	u.ending.Lock()
	defer u.ending.Unlock()
	u.answered = false
}

// wasInterrupted reports whether reading ended because of the upstream.
func (u *upload) wasInterrupted() bool {
	if u == nil {
		return false
	}
	u.ending.Lock()
	defer u.ending.Unlock()
	return u.interrupted
}

// breakOff aborts a pending read and returns when none is left; needless must return an error by
// then. It tries repeatedly, since the reader may set its own deadline in between.
func (u *upload) breakOff() {
	for !u.eof.Load() {
		if u.mu.TryLock() {
			u.mu.Unlock()
			return
		}
		u.broken.Store(true)
		_ = http.NewResponseController(u.client).SetReadDeadline(time.Unix(1, 0)) // fails only for a writer without a connection
		time.Sleep(time.Millisecond)
	}
}
