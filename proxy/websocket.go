package proxy

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Close frames with status 1001, going away (RFC 6455, 7.4.1). Frames to the upstream must be masked;
// a mask of zeros is enough.
const (
	goodbye       = "\x88\x02\x03\xe9"
	maskedGoodbye = "\x88\x82\x00\x00\x00\x00\x03\xe9"
)

// frames follows the frames of one direction of a WebSocket (RFC 6455, 5.2), to know where a frame
// may be inserted.
type frames struct {
	head [10]byte // header of the current frame, without its mask
	n    int      // bytes of head that have arrived
	left uint64   // bytes of the frame after a complete head
}

// between reports whether the position is between two frames.
func (f *frames) between() bool { return f.n == 0 }

// next consumes bytes up to the end of a frame, and returns how many.
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

// follow consumes all of p.
func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		p = p[f.next(p):]
	}
}

// headLen is the length of the current head, as far as it is known.
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

// rest is the length of the frame after its head: mask and payload.
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

// switchedBody is the upstream's side of a connection after the switch to WebSocket, the only
// protocol that is allowed. Reads get the upstream's bytes, writes send the client's.
type switchedBody struct {
	io.ReadWriteCloser
	release func()

	writing  sync.Mutex // held during a write
	upstream frames     // sent to the upstream; guarded by writing
	told     bool       // the upstream was told to close; guarded by writing

	mu      sync.Mutex
	client  frames // sent to the client; guarded by mu
	leaving bool   // the client must get a close frame; guarded by mu
	parting int    // bytes of that frame already read; guarded by mu
}

// Read implements io.Reader. After leave it returns the rest of the current frame, then a close
// frame, then io.EOF.
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

// part follows the bytes that the upstream sent and, after leave, inserts the close frame. If over,
// Read must return n and err.
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

// Write implements io.Writer. Nothing reaches the upstream after its close frame.
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

// leave sends close frames: to the client after the current frame, to the upstream only between two.
func (b *switchedBody) leave() {
	b.mu.Lock()
	b.leaving = true
	within := !b.client.between()
	b.mu.Unlock()
	if b.writing.TryLock() { // else a write is blocked: the upstream does not read
		if b.told = true; b.upstream.between() {
			_, _ = io.WriteString(b.ReadWriteCloser, maskedGoodbye) // fails only if the upstream is gone
		}
		b.writing.Unlock()
	}
	if !within {
		_ = b.ReadWriteCloser.Close() // ends a Read that waits for a frame
	}
}

// Close implements io.Closer.
func (b *switchedBody) Close() error {
	err := b.ReadWriteCloser.Close()
	b.release()
	return err
}

// CloseWrite lets ReverseProxy pass on the end of one direction.
func (b *switchedBody) CloseWrite() error {
	if half, ok := b.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// switched is both sides of a connection that has switched protocols.
type switched struct {
	client   net.Conn
	upstream *switchedBody
}

// leave tells both sides. Writes may block, so it does not wait; what it starts ends at the latest with cut.
func (c *switched) leave() { go c.upstream.leave() }

// cut ends a connection and all waiting on the client.
func (c *switched) cut() {
	_ = c.client.SetDeadline(time.Unix(1, 0)) // fails only if it is closed already
	_ = c.upstream.ReadWriteCloser.Close()
}
