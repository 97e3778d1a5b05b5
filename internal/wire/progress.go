// Package wire stands between sockets and net/http.
package wire

import (
	"cmp"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener returns connections of which no deadline blames the client for what it did not do.
//   - A write deadline bounds the time without progress, not the whole write: every byte that the client
//     takes renews the time. Otherwise a large write to a slow reader would fail although bytes keep moving.
//   - A read deadline that has passed gives what has arrived, once. Otherwise all clients whose requests
//     came while the machine stood still for longer than a deadline would be cut off.
//   - A write without a deadline has Patience, 0 for no bound: TLS answers a client in the midst of a read,
//     and would wait for it for ever.
type Listener struct {
	net.Listener
	Patience time.Duration
}

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, standard: l.Patience}, nil
}

// conn is a client's connection.
type conn struct {
	net.Conn
	standard time.Duration // the patience of writes without a deadline
	patience atomic.Int64  // time without progress, in nanoseconds; 0: the standard
	lastLook atomic.Bool   // is to be made when the read deadline has passed
}

// SetReadDeadline implements net.Conn. A time that has passed interrupts a read, which then gives nothing.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.lastLook.Store(time.Until(t) > 0)
	return c.Conn.SetReadDeadline(t)
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !c.lastLook.CompareAndSwap(true, false) {
		return n, err
	}
	return c.look(p, err)
}

// look reads what is there; without anything, err stands.
func (c *conn) look(p []byte, err error) (n int, _ error) {
	c.control(func(fd uintptr) {
		switch m, failed := syscall.Read(int(fd), p); {
		case failed != nil: // there is nothing, so that the deadline stands
		case m == 0 && len(p) > 0:
			err = io.EOF
		default:
			n, err = m, nil
		}
	})
	return n, err
}

// looks is how often a write checks for progress within its patience.
const looks = 4

// SetWriteDeadline implements net.Conn; the time from now to t is the patience.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		c.patience.Store(0)
		return c.arm()
	}
	patience := time.Until(t)
	c.patience.Store(int64(max(patience, 1)))
	return c.Conn.SetWriteDeadline(t.Add(-patience + patience/looks))
}

// arm lets a write without a deadline, which may be under way, look for progress from now on.
func (c *conn) arm() error {
	var deadline time.Time
	if c.standard > 0 {
		deadline = time.Now().Add(c.standard / looks)
	}
	return c.Conn.SetWriteDeadline(deadline)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if c.patience.Load() == 0 && c.standard > 0 {
		_ = c.arm() // it fails only if the connection is closed, as the write then does
	}
	n, err := c.Conn.Write(p)
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	return c.persist(p, n, err)
}

// persist continues a write, of which n bytes are written, while there is progress: the kernel took
// bytes of p, or the client took bytes from the kernel's queue. Both count, since the kernel takes
// more only once it has much room.
func (c *conn) persist(p []byte, n int, err error) (int, error) {
	moved, queued := time.Now(), c.queued()
	for errors.Is(err, os.ErrDeadlineExceeded) {
		patience := cmp.Or(time.Duration(c.patience.Load()), c.standard)
		if patience == 0 || time.Since(moved) > patience-patience/looks {
			break
		}
		if err := c.Conn.SetWriteDeadline(time.Now().Add(patience / looks)); err != nil {
			return n, err
		}
		var more int
		more, err = c.Conn.Write(p[n:])
		n += more
		now := c.queued()
		if more > 0 || now < queued {
			moved = time.Now()
		}
		queued = now
	}
	return n, err
}

// queued is how many bytes the kernel holds that the client has not taken; 0 if unknown.
func (c *conn) queued() (n int) {
	c.control(func(fd uintptr) { n = outgoing(fd) })
	return n
}

// control calls f, which must not block, with the connection's descriptor if it is open and has one.
func (c *conn) control(f func(fd uintptr)) {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		_ = raw.Control(f) // it fails if the connection is closed
	}
}

// CloseWrite is used by net/http and httputil, which close one direction first.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
