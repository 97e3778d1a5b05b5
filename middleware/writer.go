package middleware

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// HeaderHook changes a response's header just before a head is sent.
type HeaderHook interface {
	// OnHeader is called for each interim head (see Interim), and once for the final one. A
	// hijacked connection counts as status 101; OnHeader is called again whenever Header is called
	// after the hijack, since the header may be filled in then. It is not called if the handler
	// writes nothing; the handlers of the chain always write.
	OnHeader(status int, h http.Header)
}

// Interim reports whether another head follows one with that status (RFC 9110, 15.2).
func Interim(status int) bool { return status < 200 && status != http.StatusSwitchingProtocols }

// OnHeader returns a writer that calls hook, and then the earlier hooks of w. Below Observe it is w
// itself: the whole chain shares one writer.
func OnHeader(w http.ResponseWriter, hook HeaderHook) http.ResponseWriter {
	cw, ok := w.(*writer)
	if !ok {
		cw = &writer{ResponseWriter: w, atOnce: writeAtOnce}
	}
	cw.hooks = append(cw.hooks, hook)
	return cw
}

// writer tracks what was sent, calls hooks before heads, and enforces the client's progress.
type writer struct {
	http.ResponseWriter
	hooks     []HeaderHook  // the outermost layer's first
	body      *countingBody // nil: a request without one
	deadline  deadline
	undecided *atomic.Int64 // the count of requests without a final head; nil once this one has one
	atOnce    int           // bytes under one deadline
	hijacked  bool
	status    int   // 0: no final head yet
	n         int64 // bytes of content sent
}

// How many bytes are written under one deadline. A single large write would hide the progress of a slow
// client. A stream of HTTP/2 has a deadline of its own, which its frames do not move: so each is written
// under one.
const (
	writeAtOnce      = 128 << 10
	writeHTTP2AtOnce = 16 << 10
)

// Header calls the hooks first if the connection was hijacked: ReverseProxy fills in the header of
// an upgrade, and writes it itself, after Hijack.
func (w *writer) Header() http.Header {
	if w.hijacked {
		w.tell(http.StatusSwitchingProtocols)
	}
	return w.ResponseWriter.Header()
}

// expect sets how long the connection may make no progress.
func (w *writer) expect(progress time.Duration) {
	w.deadline.progress = progress
	if w.body != nil {
		w.body.deadline.progress = progress
	}
}

// tell calls the hooks, the innermost layer's first, so that outer layers have the last word.
func (w *writer) tell(status int) {
	for _, hook := range slices.Backward(w.hooks) {
		hook.OnHeader(status, w.ResponseWriter.Header())
	}
}

// decided is called when the final head is sent, or will never be.
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
			h["Content-Type"] = nil // stops net/http from sniffing, which nosniff forbids
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
		n, err := w.ResponseWriter.Write(b[sent:min(len(b), sent+w.atOnce)])
		sent += n
		w.n += int64(n)
		if err != nil || sent == len(b) {
			return sent, err
		}
	}
}

// FlushError flushes the buffer, and sends the head if necessary.
func (w *writer) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands over the connection; its later bytes are not counted.
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
