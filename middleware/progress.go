package middleware

import (
	"errors"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"time"
)

// deadline arms a connection's deadlines as bytes move, so that a client may
// stream for as long as it likes but not stall. Arming costs about as much as a
// small write does, so it happens at most four times a period. The zero value
// arms none.
type deadline struct {
	progress time.Duration
	now      func() time.Time
	armed    time.Time
}

// due reports whether it is time to set a deadline, and the one to set.
func (d *deadline) due() (time.Time, bool) {
	if d.progress == 0 {
		return time.Time{}, false
	}
	now := d.now()
	if now.Sub(d.armed) <= d.progress/4 {
		return time.Time{}, false
	}
	d.armed = now
	return now.Add(d.progress), true
}

// extendWrite sets that of w's connection where it is time to. net/http forgets it
// with the request.
func (d *deadline) extendWrite(w http.ResponseWriter) {
	if at, due := d.due(); due {
		_ = http.NewResponseController(w).SetWriteDeadline(at) // a writer without deadlines (a test's) has none to keep
	}
}

// countingBody counts a request's body. Transports read it in a goroutine of
// their own, which may outlive the handler by a moment.
type countingBody struct {
	io.ReadCloser
	w        http.ResponseWriter // of the connection that it comes from
	deadline deadline
	minRate  int64         // bytes a second, once grace is over; 0: none
	grace    time.Duration // of waiting for the client
	waited   time.Duration // so far; the reader's
	head     atomic.Bool   // the response's is out: what comes now is a conversation
	n        atomic.Int64
	ended    atomic.Bool // all of it came
	failed   atomic.Bool // no more of it will
}

func (b *countingBody) Read(p []byte) (int, error) {
	at, due := b.deadline.due()
	began := b.deadline.now()
	if left := b.left(); left < b.deadline.progress {
		at, due = began.Add(left), true
	}
	if due {
		b.expectBy(at)
	}
	n, err := b.ReadCloser.Read(p)
	b.waited += b.deadline.now().Sub(began)
	b.n.Add(int64(n))
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF):
		b.failed.Store(true)
	case !b.ended.Swap(true):
		// net/http keeps reading from the connection to notice a client that
		// leaves; a deadline that passes while the upstream thinks would look
		// like one.
		b.expectBy(time.Time{})
	}
	return n, err
}

// left is how long the client may still be waited for at its rate so far: what it
// sends buys time.
func (b *countingBody) left() time.Duration {
	if b.minRate == 0 || b.head.Load() {
		return math.MaxInt64
	}
	bought := time.Duration(float64(b.n.Load()) / float64(b.minRate) * float64(time.Second))
	return b.grace + bought - b.waited
}

// answered notes that the response's head goes out.
func (b *countingBody) answered() {
	if b != nil {
		b.head.Store(true)
	}
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
		b.expectBy(b.deadline.now().Add(b.deadline.progress))
	}
}

// expectBy sets the deadline of reads; zero: there is none.
func (b *countingBody) expectBy(t time.Time) {
	_ = http.NewResponseController(b.w).SetReadDeadline(t) // as in extendWrite
}
