package middleware

import (
	"errors"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"time"
)

// deadline renews a connection's deadlines as bytes move: a client may stream for any time, but not
// stall. Renewing costs about as much as a small write, so it happens at most four times a period.
// The zero value sets no deadlines.
type deadline struct {
	progress time.Duration
	now      func() time.Time
	armed    time.Time
}

// due reports whether a deadline must be set now, and returns it.
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

// extendWrite sets the write deadline of w's connection if it is due. net/http resets it after the
// request.
func (d *deadline) extendWrite(w http.ResponseWriter) {
	if at, due := d.due(); due {
		_ = http.NewResponseController(w).SetWriteDeadline(at) // ignore writers without deadlines, as in tests
	}
}

// countingBody counts a request's body. Transports read it in their own goroutine, which may
// outlive the handler briefly.
type countingBody struct {
	io.ReadCloser
	w        http.ResponseWriter // the writer of the same connection
	deadline deadline
	minRate  int64         // bytes per second after grace; 0: none
	grace    time.Duration // time for waiting before minRate counts
	waited   time.Duration // so far; used by the reader only
	head     atomic.Bool   // the response's head is sent: from now on minRate does not apply
	n        atomic.Int64
	ended    atomic.Bool // read completely
	failed   atomic.Bool // failed to read
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
		// net/http keeps reading from the connection to notice a client that leaves; a deadline
		// that passes while the upstream works would look like that.
		b.expectBy(time.Time{})
	}
	return n, err
}

// left is how long to wait for the client at its rate so far: the bytes that it sends buy time.
func (b *countingBody) left() time.Duration {
	if b.minRate == 0 || b.head.Load() {
		return math.MaxInt64
	}
	bought := time.Duration(float64(b.n.Load()) / float64(b.minRate) * float64(time.Second))
	return b.grace + bought - b.waited
}

// answered records that the response's head is sent.
func (b *countingBody) answered() {
	if b != nil {
		b.head.Store(true)
	}
}

// parting is how long a client may still send of a body that nobody takes, so that it can read the answer.
const parting = 2 * time.Second

// abandon prepares a response that is sent before the whole body came. net/http reads the rest
// first to keep the connection. A client that stalls must not hold it forever, and a body that is
// too large is not worth reading.
func (b *countingBody) abandon(status int, h http.Header) {
	switch {
	case b == nil || b.ended.Load():
	case status == http.StatusRequestEntityTooLarge || b.failed.Load():
		h.Set("Connection", "close")
		b.expectBy(b.deadline.now().Add(parting))
	default:
		b.expectBy(b.deadline.now().Add(b.deadline.progress))
	}
}

// expectBy sets the read deadline; zero: none.
func (b *countingBody) expectBy(t time.Time) {
	_ = http.NewResponseController(b.w).SetReadDeadline(t) // as in extendWrite
}
