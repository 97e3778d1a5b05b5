package proxy

import (
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// eventStream is the body of a response with server-sent events. After leave it ends between two events, with
// io.EOF: the client gets a complete body, reconnects, and goes on after the last event that it has.
type eventStream struct {
	upstream io.ReadCloser
	events   *io.PipeReader // what upstream sent
	sink     *io.PipeWriter // its other end

	mu      sync.Mutex
	at      eventPosition // of what the client has; guarded by mu
	leaving bool          // guarded by mu
	over    bool          // ended by leave: nothing more is read; guarded by mu
}

// newEventStream returns the stream in place of its body. One goroutine reads body, so that a Read which waits for
// an event can be ended; it ends when body does, which is closed or ends with its request.
func newEventStream(body io.ReadCloser) *eventStream {
	s := &eventStream{upstream: body}
	s.events, s.sink = io.Pipe()
	go func() {
		_, err := io.CopyBuffer(s.sink, struct{ io.Reader }{body}, make([]byte, 4<<10))
		_ = s.sink.CloseWithError(err) // never fails
	}()
	return s
}

// Read implements io.Reader.
func (s *eventStream) Read(p []byte) (int, error) {
	n, err := s.events.Read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over: // between Read and Lock
		return 0, io.EOF
	case s.leaving:
		if n, s.over = s.at.next(p[:n]); s.over {
			s.finish()
		}
		return n, err
	}
	s.at.follow(p[:n])
	return n, err
}

// leave ends the stream as soon as it is between two events.
func (s *eventStream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	if s.at.between() {
		s.over = true
		s.finish()
	}
}

// ended reports whether leave has ended the stream.
func (s *eventStream) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// finish makes the next Read, and one that waits, return io.EOF.
func (s *eventStream) finish() { _ = s.sink.Close() } // never fails

// Close implements io.Closer.
func (s *eventStream) Close() error {
	_ = s.events.Close() // never fails
	return s.upstream.Close()
}

// eventPosition is a position in an event stream (HTML, 9.2.5). A line ends with CR, LF or both, an event with an
// empty line, and a line that begins with a colon belongs to no event. The zero value is the beginning.
type eventPosition struct {
	inLine  bool // the line has begun
	pending bool // lines of an event have begun, which no empty line has ended yet
	last    byte
}

// between reports whether the stream may end here without cutting an event or a line in two.
func (e *eventPosition) between() bool { return !e.inLine && !e.pending }

// next follows p up to the first position between two events, and reports whether there is one. Without one it
// follows all of p.
func (e *eventPosition) next(p []byte) (taken int, between bool) {
	for i, c := range p {
		e.step(c)
		if e.between() {
			return i + 1, true
		}
	}
	return len(p), false
}

func (e *eventPosition) follow(p []byte) {
	for _, c := range p {
		e.step(c)
	}
}

func (e *eventPosition) step(c byte) {
	switch {
	case c == '\n' && e.last == '\r': // the rest of a line's end
	case c == '\n' || c == '\r':
		e.pending = e.pending && e.inLine
		e.inLine = false
	case !e.inLine:
		e.inLine = true
		e.pending = e.pending || c != ':'
	}
	e.last = c
}

// sendsEvents reports whether a response may end between two events: it answers a GET, and is a stream of events that
// can be followed. A long answer to a POST comes once, so it is cut off rather than made to look whole.
func sendsEvents(request *http.Request, resp *http.Response) bool {
	if request.Method != http.MethodGet || resp.StatusCode != http.StatusOK || resp.ContentLength >= 0 || resp.Header.Get("Content-Encoding") != "" {
		return false
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && kind == "text/event-stream"
}

// reconnects reports whether the client asks for the rest when a stream of events ends, as EventSource does, which
// always sends this Accept (HTML, 9.2.3).
func reconnects(request *http.Request) bool {
	return strings.Contains(strings.ToLower(strings.Join(request.Header["Accept"], ",")), "text/event-stream")
}
