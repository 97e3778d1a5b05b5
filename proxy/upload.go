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

// errClosed is what it reads once nobody takes it.
var errClosed = errors.New("proxy: upstream closed the connection before it answered")

// upload is a request's body on its way upstream. The transport reads it in a
// goroutine of its own, which may outlive the call; the client's body may not
// be read then. All methods work on nil, which is no body.
type upload struct {
	body     io.ReadCloser
	client   http.ResponseWriter // of the connection that the body comes from
	in       *http.Request       // whose Trailer is complete at the body's end
	trailer  http.Header         // the request's that goes upstream; nil: none announced
	eof      atomic.Bool
	detached atomic.Bool
	broken   atomic.Bool                // a read was broken off: its error is ours
	upstream atomic.Pointer[movingConn] // that it goes to; nil: none yet
	shared   atomic.Bool                // upstream is HTTP/2: the stream may end before it
	closed   atomic.Bool                // the transport reads no more

	ending      sync.Mutex // held while reading is broken off
	answered    bool       // the upstream's head is here; guarded by ending
	interrupted bool       // guarded by ending

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

// needless says why nobody takes what would be read; nil: it is taken.
func (u *upload) needless() error {
	switch conn := u.upstream.Load(); {
	case u.detached.Load():
		return errDetached
	case u.closed.Load(), conn != nil && conn.ended.Load():
		return errClosed
	}
	return nil
}

// Close implements io.Closer. HTTP/2 closes the body of a stream that has ended, by a
// goroutine of its own, and then waits for the read under way.
func (u *upload) Close() error {
	if u.shared.Load() {
		u.closed.Store(true)
		u.interrupt(u.upstream.Load())
	}
	return u.body.Close()
}

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

// interrupt ends a read under way, since conn, which it goes to, has ended
// without an answer. The transport would wait for it, and the client may be silent
// for long. To the server it looks as if the client had left.
func (u *upload) interrupt(conn *movingConn) {
	u.ending.Lock()
	defer u.ending.Unlock()
	if u.in.Context().Err() != nil { // the transport closed it on the client's account, whose read has ended
		return
	}
	if u.upstream.Load() == conn && !u.answered && !u.eof.Load() && !u.detached.Load() { // afterwards the connection may serve another request
		u.interrupted = true
		u.breakOff()
	}
}

// answer notes that the upstream's head is here.
func (u *upload) answer() {
	u.ending.Lock()
	defer u.ending.Unlock()
	u.answered = true
	if conn := u.upstream.Load(); conn != nil && u.eof.Load() { // which may get another request now
		conn.carried.CompareAndSwap(u, nil)
	}
}

// await notes that the head was an interim one.
func (u *upload) await() {
	u.ending.Lock()
	defer u.ending.Unlock()
	u.answered = false
}

// wasInterrupted reports whether reading ended on the upstream's account.
func (u *upload) wasInterrupted() bool {
	if u == nil {
		return false
	}
	u.ending.Lock()
	defer u.ending.Unlock()
	return u.interrupted
}

// breakOff returns when no read is under way; needless must say why. It tries more
// than once, since whoever reads may just set a deadline of its own.
func (u *upload) breakOff() {
	for !u.eof.Load() {
		if u.mu.TryLock() {
			u.mu.Unlock()
			return
		}
		u.broken.Store(true)
		_ = http.NewResponseController(u.client).SetReadDeadline(time.Unix(1, 0)) // a writer without deadlines is no connection
		time.Sleep(time.Millisecond)
	}
}
