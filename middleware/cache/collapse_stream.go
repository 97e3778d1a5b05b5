package cache

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// copyAtOnce is how much of a body is read at a time.
	copyAtOnce = 32 << 10
	// maxWindow bounds what is kept of a body that is too large to be stored. It
	// is no less than what a busy machine lets one client be ahead of another.
	maxWindow = 8 << 20
	// minWindow is what is kept where all bodies on their way take what they may.
	minWindow = 4 * copyAtOnce
)

// errBehind ends the response of a client that takes a body so slowly that what
// it needs next is gone.
var errBehind = errors.New("cache: the body went by faster than this client takes it")

// stream is a body on its way from one upstream to many readers, each at its own
// pace. What is recorded of it is kept whole, so that nobody waits for anybody.
// A body that turns out larger than what may be stored goes on in a window: its
// end moves with the fastest reader, and who falls behind its beginning is
// broken off.
type stream struct {
	window int64
	held   *atomic.Int64 // counts the bytes of a window with those of recordings
	bound  int64         // of held: beyond it the window shrinks to minWindow
	moved  chan struct{} // a reader of a window has moved, or left; capacity 1

	mu      sync.Mutex // guards what follows
	data    []byte     // from base on; readers copy from it without mu: bytes in it never change
	base    int64      // position of data in the body
	sliding bool       // in a window, counted in held
	err     error      // io.EOF: the body was whole; nil: more comes
	grown   chan struct{}
	readers map[*reader]struct{}
}

// newStream returns a stream for what a recorder reads.
func newStream(rec *recorder) *stream {
	return &stream{
		window: min(rec.limit, maxWindow), held: rec.held, bound: rec.bound, moved: make(chan struct{}, 1),
		grown: make(chan struct{}), readers: map[*reader]struct{}{},
	}
}

// grow shows readers the body as far as it has come.
func (s *stream) grow(body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = body
	s.wakeLocked()
}

// slide adds to a body that is not recorded any more, as soon as a reader has
// come near to its end. It returns the error of ctx if that is done first.
func (s *stream) slide(ctx context.Context, p []byte) error {
	s.leaveRecording()
	window := s.room()
	for ; !s.pressing(window); window = s.room() {
		select {
		case <-s.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := int64(len(s.data))
	s.data = append(s.data, p...)
	if past := int64(len(s.data)) - window; past > 0 {
		s.data, s.base = s.data[past:], s.base+past // the next append lets go of what is before
	}
	s.held.Add(int64(len(s.data)) - before)
	s.wakeLocked()
	return nil
}

// leaveRecording counts what the recorder counts no more.
func (s *stream) leaveRecording() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sliding {
		s.sliding = true
		s.held.Add(int64(len(s.data)))
	}
}

// room is how much of the body is kept at present: clients that take bodies slowly
// cannot take more memory than recordings may.
func (s *stream) room() int64 {
	if s.held.Load() > s.bound {
		return min(s.window, minWindow)
	}
	return s.window
}

// pressing reports whether the fastest reader has not much of a window left to
// read.
func (s *stream) pressing(window int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.readers {
		if s.base+int64(len(s.data))-r.at <= window/2 {
			return true
		}
	}
	return false
}

// end tells the readers how the body ended.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sliding {
		s.held.Add(-int64(len(s.data)))
	}
	s.err = err
	s.wakeLocked()
}

func (s *stream) wakeLocked() {
	close(s.grown)
	s.grown = make(chan struct{})
}

// reader returns a reader of the body from its beginning; false: that is gone.
func (s *stream) reader(of *seat) (*reader, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base > 0 {
		return nil, false
	}
	r := &reader{stream: s, seat: of}
	s.readers[r] = struct{}{}
	return r, true
}

// reader is the body of one response.
type reader struct {
	stream *stream
	seat   *seat
	at     int64 // guarded by stream.mu
}

// Read implements io.Reader. It ends with the request, and fails where the body
// is not whole.
func (r *reader) Read(p []byte) (int, error) {
	for {
		data, more, err := r.next(len(p))
		if len(data) > 0 || err != nil {
			return copy(p, data), err
		}
		select {
		case <-more:
		case <-r.seat.ctx.Done():
			return 0, context.Cause(r.seat.ctx)
		}
	}
}

// next takes at most n bytes of the body; where there are none yet, more tells of
// them.
func (r *reader) next(n int) (data []byte, more <-chan struct{}, err error) {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.at < s.base {
		return nil, nil, errBehind
	}
	data = s.data[r.at-s.base:]
	if len(data) == 0 {
		return nil, s.grown, s.err
	}
	data = data[:min(n, len(data))]
	r.at += int64(len(data))
	s.noteLocked()
	return data, nil, nil
}

// noteLocked tells slide that a reader has moved.
func (s *stream) noteLocked() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// detach ends the reader's part in the pace of the body.
func (r *reader) detach() {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.readers, r)
	s.noteLocked()
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.detach()
	r.seat.leave()
	return nil
}

var _ io.ReadCloser = (*reader)(nil)
