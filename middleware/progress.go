package middleware

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// deadline arms a connection's deadlines as bytes move, so that a client may
// stream for as long as it likes but not stall. Arming costs about as much as a
// small write does, so it happens at most four times a period.
type deadline struct {
	rc       *http.ResponseController
	progress time.Duration
	now      func() time.Time
	armed    time.Time
}

// extend calls set with the new deadline where it is time to.
func (d *deadline) extend(set func(time.Time) error) {
	if now := d.now(); d.progress > 0 && now.Sub(d.armed) > d.progress/4 {
		d.armed = now
		_ = set(now.Add(d.progress)) // a writer without deadlines (a test's) has none to keep
	}
}

// writeAtOnce is how much of a body is written under one deadline: a client that
// takes a large one slowly moves all the while, and a single write would not show.
const writeAtOnce = 128 << 10

// countingWriter knows what has been sent.
type countingWriter struct {
	http.ResponseWriter
	body     *countingBody // nil: a request without one
	deadline deadline
	status   int // 0: no head yet
	n        int64
}

func (w *countingWriter) WriteHeader(status int) {
	if status >= 200 && w.status == 0 {
		w.status = status
		w.deadline.extend(w.deadline.rc.SetWriteDeadline)
		w.body.abandon(status, w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	sent := 0
	for {
		w.deadline.extend(w.deadline.rc.SetWriteDeadline)
		n, err := w.ResponseWriter.Write(b[sent:min(len(b), sent+writeAtOnce)])
		sent += n
		w.n += int64(n)
		if err != nil || sent == len(b) {
			return sent, err
		}
	}
}

// FlushError sends what is buffered.
func (w *countingWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.deadline.rc.Flush()
}

// Hijack hands the connection over; what moves on it then is not counted.
func (w *countingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := w.deadline.rc.Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// Unwrap serves http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// countingBody counts a request's body. Transports read it in a goroutine of
// their own, which may outlive the handler by a moment.
type countingBody struct {
	io.ReadCloser
	deadline deadline
	n        atomic.Int64
	ended    atomic.Bool // all of it came
	failed   atomic.Bool // no more of it will
}

func (b *countingBody) Read(p []byte) (int, error) {
	b.deadline.extend(b.deadline.rc.SetReadDeadline)
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF):
		b.failed.Store(true)
	case !b.ended.Swap(true):
		// net/http keeps reading from the connection to notice a client that
		// leaves; a deadline that passes while the upstream thinks would look
		// like one.
		_ = b.deadline.rc.SetReadDeadline(time.Time{}) // as in extend
	}
	return n, err
}

// abandon prepares for an answer that goes out before the whole body came.
// net/http reads the rest first, to keep the connection: a client that stalls
// must not hold it for ever, and a body that is too large is not worth reading.
func (b *countingBody) abandon(status int, h http.Header) {
	switch {
	case b == nil || b.ended.Load():
	case status == http.StatusRequestEntityTooLarge || b.failed.Load():
		h.Set("Connection", "close")
	default:
		_ = b.deadline.rc.SetReadDeadline(b.deadline.now().Add(b.deadline.progress)) // as in extend
	}
}
