// Package wire stands between sockets and net/http.
package wire

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener gives connections whose write deadline bounds the time without progress
// rather than the write: who is given until a time to take what is written has as
// long again with each byte that it takes. A large write to a slow reader would
// fail otherwise, though bytes move all the while.
type Listener struct{ net.Listener }

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn is a client's connection.
type conn struct {
	net.Conn
	patience atomic.Int64 // time without progress, in nanoseconds; 0: no bound
}

// looks is how often within its patience a write looks for progress.
const looks = 4

// SetWriteDeadline implements net.Conn; the time from now to t is the patience.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		c.patience.Store(0)
		return c.Conn.SetWriteDeadline(t)
	}
	patience := time.Until(t)
	c.patience.Store(int64(max(patience, 1)))
	return c.Conn.SetWriteDeadline(t.Add(-patience + patience/looks))
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	return c.persist(p, n, err)
}

// persist goes on with a write of which n bytes are out, while the client takes
// something. Bytes have moved where the kernel took some of p, or the client some
// of what the kernel holds: it asks for more only when it has room for a lot.
func (c *conn) persist(p []byte, n int, err error) (int, error) {
	moved, queued := time.Now(), c.queued()
	for errors.Is(err, os.ErrDeadlineExceeded) {
		patience := time.Duration(c.patience.Load())
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

// queued is how many bytes the kernel holds that the client has not taken; 0 where
// it does not tell.
func (c *conn) queued() (n int) {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n = outgoing(fd) }) // of a closed one none
	return n
}

// CloseWrite is for net/http and httputil, which end one direction first.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
