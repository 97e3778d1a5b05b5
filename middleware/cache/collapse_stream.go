package cache

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// copyAtOnce is how many bytes of a body are read at a time.
	copyAtOnce = 32 << 10
	// maxWindow bounds the bytes kept of a body that is too large to store. On a busy machine one
	// client may be this far ahead of another.
	maxWindow = 8 << 20
	// minWindow is kept of each body while recordings use all their memory.
	minWindow = 4 * copyAtOnce
)

// errBehind ends the response of a client so slow that the bytes it needs next are gone.
var errBehind = errors.New("cache: the client is too slow for the shared body")

// stream is a body in transit from one upstream to many readers, each at its own pace. A recorded
// body is kept whole, so readers do not wait for each other. A body that turns out too large to
// store continues in a window: its end moves with the fastest reader, and a reader that falls
// behind its beginning is aborted.
type stream struct {
	window int64
	held   *atomic.Int64 // bytes held by windows and recordings
	bound  int64         // limit of held, beyond which the window shrinks to minWindow
	moved  chan struct{} // a reader has moved or left; capacity 1

	mu      sync.Mutex // guards what follows
	data    []byte     // from base on; its bytes never change, so readers copy without mu
	base    int64      // position of data in the body
	sliding bool       // windowed, and counted in held
	err     error      // io.EOF: complete; nil: in transit
	grown   chan struct{}
	readers map[*reader]struct{}
}

// newStream returns a stream for the body that a recorder reads.
func newStream(rec *recorder) *stream {
	return &stream{
		window: min(rec.limit, maxWindow), held: rec.held, bound: rec.bound, moved: make(chan struct{}, 1),
		grown: make(chan struct{}), readers: map[*reader]struct{}{},
	}
}

// grow publishes the body as far as it has come.
func (s *stream) grow(body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = body
	s.wakeLocked()
}

// slide adds to a body that is no longer recorded, as soon as a reader comes near its end. It
// returns the error of ctx if that is done first.
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
		s.data, s.base = s.data[past:], s.base+past // the next append frees what is before
	}
	s.held.Add(int64(len(s.data)) - before)
	s.wakeLocked()
	return nil
}

// leaveRecording counts the bytes that the recorder no longer counts.
func (s *stream) leaveRecording() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sliding {
		s.sliding = true
		s.held.Add(int64(len(s.data)))
	}
}

// room is how many bytes of the body are kept now: slow clients cannot take more memory than
// recordings may.
func (s *stream) room() int64 {
	if s.held.Load() > s.bound {
		return min(s.window, minWindow)
	}
	return s.window
}

// pressing reports whether the fastest reader has read at least half of the window.
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

// reader returns a reader of the body from its beginning; false: the beginning is gone.
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

// Read implements io.Reader. It ends with the request, and fails if the body is not complete.
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

// next returns at most n bytes of the body. If there are none yet, more is closed when some come.
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

// since returns the body from a position on, and how it ended if it has. more is closed when there is more.
func (s *stream) since(at int64) (data []byte, more <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < s.base {
		return nil, nil, errBehind
	}
	return s.data[at-s.base:], s.grown, s.err
}

// noteLocked tells slide that a reader has moved.
func (s *stream) noteLocked() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// detach makes the stream no longer keep pace with this reader.
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
