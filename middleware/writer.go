package middleware

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// HeaderHook changes a response's header just before a head goes out.
type HeaderHook interface {
	// OnHeader is told of each interim head (Interim), and once of the final one. A
	// hijacked connection counts as status 101. Whoever takes one over may fill
	// the header in afterwards, so then it is told again when he asks for that.
	// A handler that writes nothing at all sends no head of its own making, and
	// OnHeader is not called: those of the chain do.
	OnHeader(status int, h http.Header)
}

// Interim reports whether a head of that status is followed by another one (RFC
// 9110, 15.2).
func Interim(status int) bool { return status < 200 && status != http.StatusSwitchingProtocols }

// OnHeader returns a writer that calls hook, and then the hooks that w had. Below
// Observe it is w itself: the whole chain has one writer.
func OnHeader(w http.ResponseWriter, hook HeaderHook) http.ResponseWriter {
	cw, ok := w.(*writer)
	if !ok {
		cw = &writer{ResponseWriter: w}
	}
	cw.hooks = append(cw.hooks, hook)
	return cw
}

// writer knows what has been sent, calls hooks before heads, and keeps the
// client moving.
type writer struct {
	http.ResponseWriter
	hooks     []HeaderHook  // the outermost layer's first
	body      *countingBody // nil: a request without one
	deadline  deadline
	undecided *atomic.Int64 // requests without a final head, this one too; nil once it has one
	hijacked  bool
	status    int   // 0: no final head yet
	n         int64 // bytes of content sent
}

// writeAtOnce is how much of a body is written under one deadline: a client that
// takes a large one slowly moves all the while, and a single write would not show.
const writeAtOnce = 128 << 10

// Header gives a header that hooks have seen where nobody else will show it to
// them: ReverseProxy fills in that of an upgrade, and writes it, after Hijack.
func (w *writer) Header() http.Header {
	if w.hijacked {
		w.tell(http.StatusSwitchingProtocols)
	}
	return w.ResponseWriter.Header()
}

// expect sets how long nothing may move.
func (w *writer) expect(progress time.Duration) {
	w.deadline.progress = progress
	if w.body != nil {
		w.body.deadline.progress = progress
	}
}

// tell calls the hooks, the innermost layer's first: outer ones have the last word.
func (w *writer) tell(status int) {
	for _, hook := range slices.Backward(w.hooks) {
		hook.OnHeader(status, w.ResponseWriter.Header())
	}
}

// decided is called when the final head is out, or will not be any more.
func (w *writer) decided() {
	if w.undecided != nil {
		w.undecided.Add(-1)
		w.undecided = nil
	}
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.tell(status)
	}
	if w.status == 0 && !Interim(status) {
		w.status = status
		w.decided()
		w.deadline.extendWrite(w.ResponseWriter)
		h := w.ResponseWriter.Header()
		w.body.answered()
		w.body.abandon(status, h)
		if _, told := h["Content-Type"]; !told {
			h["Content-Type"] = nil // else net/http guesses, which a response with nosniff says not to
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	sent := 0
	for {
		w.deadline.extendWrite(w.ResponseWriter)
		n, err := w.ResponseWriter.Write(b[sent:min(len(b), sent+writeAtOnce)])
		sent += n
		w.n += int64(n)
		if err != nil || sent == len(b) {
			return sent, err
		}
	}
}

// FlushError sends what is buffered, and the head if it has not gone out yet.
func (w *writer) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands the connection over; what moves on it then is not counted.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.tell(http.StatusSwitchingProtocols)
		w.hijacked, w.status = true, http.StatusSwitchingProtocols
		w.decided()
	}
	return conn, rw, err
}

// Unwrap serves http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
