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

// Bounds of connections to targets. An idle one costs a few KiB; a new one costs a round trip and
// twice the CPU time of the request.
const (
	dialTimeout       = 2 * time.Second
	dialKeepAlive     = 15 * time.Second
	handshakeTimeout  = 5 * time.Second
	idlePerTarget     = 256
	continueTimeout   = time.Second
	maxResponseHeader = 256 << 10
)

// newTransport returns the transport for one pool's requests with these bounds. It keeps idle
// connections for idle, ignores proxies in the environment, and does not touch content codings.
func newTransport(b bounds, idle time.Duration, h2c bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2c)
	protocols.SetHTTP2(!h2c) // over TLS; a custom DialContext would turn it off
	protocols.SetUnencryptedHTTP2(h2c)
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &movingConn{Conn: conn, progress: b.progress, start: time.Now(), h2c: h2c}, nil
		},
		DisableCompression:     true,
		Protocols:              protocols,
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxIdleConnsPerHost:    idlePerTarget, // per target, so that one target cannot displace another's
		IdleConnTimeout:        idle,
		ResponseHeaderTimeout:  b.head,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}

// movingConn is a connection to a target. A write may stall for at most progress, so that an upstream
// that stops reading cannot hold an upload forever. Reads are bounded in responseBody, since a
// connection may be silent between requests.
type movingConn struct {
	net.Conn
	progress time.Duration // 0: no bound
	start    time.Time
	h2c      bool         // several requests share it
	armed    atomic.Int64 // when the deadline was last set, since start
	ended    atomic.Bool  // it is closed
	carried  atomic.Pointer[upload]
	begun    atomic.Bool // part of the carried request was written
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

// Close implements net.Conn. The transport calls it when it cannot read any more, and then waits for
// its pending read of the upload.
func (c *movingConn) Close() error {
	c.ended.Store(true)
	if u := c.carried.Load(); u != nil {
		go u.interrupt(c) // ends with the pending read
	}
	return c.Conn.Close()
}

// Write implements net.Conn. Setting a deadline costs about as much as a small write, so it is done
// at most four times per progress period.
//
// An upstream may answer an upload before its end, and close. Writes fail then, although the response
// can still be read. Such a failed write is hidden from the transport, which would drop the response;
// the next read tells how the request ended.
func (c *movingConn) Write(p []byte) (int, error) {
	if c.progress > 0 {
		now := time.Since(c.start)
		if armed := c.armed.Load(); armed == 0 || now-time.Duration(armed) > c.progress/4 {
			c.armed.Store(int64(now))
			_ = c.SetWriteDeadline(time.Now().Add(c.progress)) // if it fails, so does the write
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

// CloseWrite signals the end of one direction of a switched connection.
func (c *movingConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// carrying tells the connection that a request gets about its body.
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
				if c.h2c {
					u.shared.Store(true)
				}
				c.carry(u)
			}
		},
		GotFirstResponseByte: func() {
			if u.shared.Load() { // the whole header; HTTP/2 may close the body before RoundTrip returns
				u.answer()
			}
		},
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			u.await()
			return nil
		},
	})
}
