package proxy

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Close frames with the status of an endpoint that goes down, 1001 (RFC 6455,
// 7.4.1). What a client sends is masked; a mask of zeros will do.
const (
	goodbye       = "\x88\x02\x03\xe9"
	maskedGoodbye = "\x88\x82\x00\x00\x00\x00\x03\xe9"
)

// frames follows the frames of one direction of a WebSocket (RFC 6455, 5.2), to
// know where a frame may be put in.
type frames struct {
	head [10]byte // of the frame under way, without its mask
	n    int      // bytes of it that are here
	left uint64   // bytes of the frame that are still to come, once its head is here
}

// between reports whether no frame is under way.
func (f *frames) between() bool { return f.n == 0 }

// next takes in bytes up to the end of a frame, and returns how many.
func (f *frames) next(p []byte) (taken int) {
	for taken < len(p) {
		if f.n < f.headLen() {
			f.head[f.n] = p[taken]
			f.n++
			taken++
			if f.n == f.headLen() {
				f.left = f.rest()
			}
		} else {
			step := min(f.left, uint64(len(p)-taken))
			taken += int(step)
			f.left -= step
		}
		if f.n >= 2 && f.n == f.headLen() && f.left == 0 {
			f.n = 0
			return taken
		}
	}
	return taken
}

// follow takes in all of p.
func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		p = p[f.next(p):]
	}
}

// headLen is the length of the head under way, as far as it is known.
func (f *frames) headLen() int {
	if f.n < 2 {
		return 2
	}
	switch f.head[1] & 0x7f {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}

// rest is the length of what follows the head: a mask, and the payload.
func (f *frames) rest() uint64 {
	length := uint64(f.head[1] & 0x7f)
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		length = binary.BigEndian.Uint64(f.head[2:]) &^ (1 << 63) // which must be 0
	}
	if f.head[1]&0x80 != 0 {
		length += 4
	}
	return length
}

// switchedBody is the upstream's side of a connection that speaks another
// protocol by now: a WebSocket, since nothing else is let through. What the
// upstream sends is read from it, what the client sends is written to it.
type switchedBody struct {
	io.ReadWriteCloser
	release func()

	writing  sync.Mutex // held while a write is under way
	upstream frames     // towards it; guarded by writing
	told     bool       // the upstream, of the end; guarded by writing

	mu      sync.Mutex
	client  frames // towards it; guarded by mu
	leaving bool   // the client is owed a close frame; guarded by mu
	parting int    // bytes of it that it has; guarded by mu
}

// Read implements io.Reader. Once the gateway leaves, a frame under way is ended,
// and a close frame is the last.
func (b *switchedBody) Read(p []byte) (int, error) {
	if over, last, err := b.part(p, nil); over {
		return last, err
	}
	n, err := b.ReadWriteCloser.Read(p)
	if over, last, err := b.part(p, p[:n]); over {
		return last, err
	}
	return n, err
}

// part follows what the upstream sent, and says goodbye where it is time to:
// over reports that n and err are what Read returns.
func (b *switchedBody) part(p, sent []byte) (over bool, n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.leaving:
		b.client.follow(sent)
		return false, 0, nil
	case !b.client.between():
		n = b.client.next(sent)
		return n > 0, n, nil
	case b.parting == len(goodbye):
		return true, 0, io.EOF
	}
	n = copy(p, goodbye[b.parting:])
	b.parting += n
	return true, n, nil
}

// Write implements io.Writer. After the upstream was told of the end nothing more
// reaches it.
func (b *switchedBody) Write(p []byte) (int, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.told {
		return len(p), nil
	}
	n, err := b.ReadWriteCloser.Write(p)
	b.upstream.follow(p[:n])
	return n, err
}

// leave tells both sides that the gateway goes away, each at the end of the frame
// that is under way.
func (b *switchedBody) leave() {
	b.mu.Lock()
	b.leaving = true
	within := !b.client.between()
	b.mu.Unlock()
	if b.writing.TryLock() { // else the upstream takes nothing
		if b.told = true; b.upstream.between() {
			_, _ = io.WriteString(b.ReadWriteCloser, maskedGoodbye) // one that is gone needs none
		}
		b.writing.Unlock()
	}
	if !within {
		_ = b.ReadWriteCloser.Close() // a Read that waits for a frame ends
	}
}

// Close implements io.Closer.
func (b *switchedBody) Close() error {
	err := b.ReadWriteCloser.Close()
	b.release()
	return err
}

// CloseWrite is for ReverseProxy, which passes the end of one direction on.
func (b *switchedBody) CloseWrite() error {
	if half, ok := b.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// switched are both sides of a connection that has switched protocols.
type switched struct {
	client   net.Conn
	upstream *switchedBody
}

// switches holds the connections that have switched protocols. The zero value
// works.
type switches struct {
	mu      sync.Mutex
	all     map[*switched]struct{} // guarded by mu
	leaving bool                   // guarded by mu
}

func (s *switches) add(c *switched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*switched]struct{}{}
	}
	s.all[c] = struct{}{}
	if s.leaving {
		go c.upstream.leave() // as in leave
	}
}

// remove reports whether c ended since the gateway leaves.
func (s *switches) remove(c *switched) (left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
	return s.leaving
}

// stopped reports whether leave has been called.
func (s *switches) stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

// leave is Handler.Leave.
func (s *switches) leave(ctx context.Context) {
	each := func(do func(*switched)) (left int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.all {
			do(c)
		}
		return len(s.all)
	}
	s.mu.Lock()
	s.leaving = true
	s.mu.Unlock()
	each(func(c *switched) { go c.upstream.leave() }) // ends with cut, at the latest
	for each(func(*switched) {}) > 0 {
		select {
		case <-ctx.Done():
			each((*switched).cut)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// cut ends a connection: whatever waits for the client waits no longer.
func (c *switched) cut() {
	_ = c.client.SetDeadline(time.Unix(1, 0)) // fails only where it is closed already
	_ = c.upstream.ReadWriteCloser.Close()
}
