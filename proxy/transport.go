package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"syscall"
	"time"
)

// How connections to targets are kept. An idle one costs a few KiB, a new one a
// round trip and twice the processor time of the request.
const (
	dialTimeout       = 2 * time.Second
	dialKeepAlive     = 15 * time.Second
	handshakeTimeout  = 5 * time.Second
	idlePerTarget     = 256
	continueTimeout   = time.Second
	maxResponseHeader = 256 << 10
)

// newTransport returns the transport of one pool's requests with those bounds. It
// keeps connections for idle, takes no proxy from the environment and leaves
// content codings alone.
func newTransport(b bounds, idle time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &movingConn{Conn: conn, progress: b.progress, start: time.Now()}, nil
		},
		DisableCompression:     true,
		ForceAttemptHTTP2:      true, // over TLS; a DialContext of one's own would turn it off
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxIdleConnsPerHost:    idlePerTarget, // of each target; a bound on all together would let one push out another
		IdleConnTimeout:        idle,
		ResponseHeaderTimeout:  b.head,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}

// movingConn is a connection to a target. A write may stand still for progress at
// most: an upstream that stops reading would otherwise hold an upload for ever.
// Reads are bounded where a body is read, since between requests a connection may
// well be silent.
type movingConn struct {
	net.Conn
	progress time.Duration // 0: no bound
	start    time.Time
	armed    atomic.Int64 // when the deadline was last set, since start
	ended    atomic.Bool  // it is closed
	carried  atomic.Pointer[upload]
	begun    atomic.Bool // some of what is carried was written
}

// carry begins a request with a body.
func (c *movingConn) carry(u *upload) {
	c.begun.Store(false)
	c.carried.Store(u)
	u.upstream.Store(c)
	if c.ended.Load() {
		u.interrupt(c)
	}
}

// Close implements net.Conn. The transport calls it when it can read no more, and
// then waits for whatever it is about to read of an upload.
func (c *movingConn) Close() error {
	c.ended.Store(true)
	if u := c.carried.Load(); u != nil {
		go u.interrupt(c) // ends with the read under way
	}
	return c.Conn.Close()
}

// Write implements net.Conn. Arming a deadline costs about as much as a small
// write, so it is done at most four times a period.
//
// An upstream may answer an upload before it has all of it, and close: writing
// fails then, while the answer is there to be read. So the write that fails is
// none to the transport, which would drop the answer; it goes on until a read
// tells how it ended.
func (c *movingConn) Write(p []byte) (int, error) {
	if c.progress > 0 {
		now := time.Since(c.start)
		if armed := c.armed.Load(); armed == 0 || now-time.Duration(armed) > c.progress/4 {
			c.armed.Store(int64(now))
			_ = c.SetWriteDeadline(time.Now().Add(c.progress)) // fails only where the write will
		}
	}
	n, err := c.Conn.Write(p)
	if err == nil {
		c.begun.Store(true)
	} else if c.begun.Load() && c.carried.Load() != nil && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		return len(p), nil
	}
	return n, err
}

// CloseWrite tells the other side of a switched connection that no more comes.
func (c *movingConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// carrying has the connection that a request gets know of its body.
func carrying(ctx context.Context, body io.Reader) context.Context {
	u, ok := body.(*upload)
	if !ok {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			conn := info.Conn
			if encrypted, ok := conn.(*tls.Conn); ok {
				conn = encrypted.NetConn()
				u.shared.Store(encrypted.ConnectionState().NegotiatedProtocol == "h2")
			}
			if c, ok := conn.(*movingConn); ok {
				c.carry(u)
			}
		},
		GotFirstResponseByte: func() {
			if u.shared.Load() { // of a whole head; HTTP/2 may close the body before it returns
				u.answer()
			}
		},
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			u.await()
			return nil
		},
	})
}
