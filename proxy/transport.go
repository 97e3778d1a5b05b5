package proxy

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// How connections to targets are kept. An idle one costs a few KiB, a new one a
// round trip and twice the processor time of the request.
const (
	dialTimeout       = 2 * time.Second
	dialKeepAlive     = 15 * time.Second
	handshakeTimeout  = 5 * time.Second
	idleTimeout       = 60 * time.Second
	idlePerTarget     = 256
	continueTimeout   = time.Second
	maxResponseHeader = 256 << 10
)

// newTransport returns the transport of one pool: header is the most that is
// waited for a response's head once the request is sent, progress the most that
// a write may stand still; 0 is no bound. It takes no proxy from the
// environment and leaves content codings alone.
func newTransport(header, progress time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil || progress == 0 {
				return conn, err
			}
			return &movingConn{Conn: conn, progress: progress, start: time.Now()}, nil
		},
		DisableCompression:     true,
		ForceAttemptHTTP2:      true, // over TLS; a DialContext of one's own would turn it off
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxIdleConnsPerHost:    idlePerTarget, // of each target; a bound on all together would let one push out another
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  header,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}

// movingConn is a connection on which a write may stand still for progress at
// most: an upstream that stops reading would otherwise hold an upload for ever.
// Reads are bounded where a body is read, since between requests a connection
// may well be silent.
type movingConn struct {
	net.Conn
	progress time.Duration
	start    time.Time
	armed    atomic.Int64 // when the deadline was last set, since start
}

// Write implements net.Conn. Arming a deadline costs about as much as a small
// write, so it is done at most four times a period.
func (c *movingConn) Write(p []byte) (int, error) {
	now := time.Since(c.start)
	if armed := c.armed.Load(); armed == 0 || now-time.Duration(armed) > c.progress/4 {
		c.armed.Store(int64(now))
		_ = c.SetWriteDeadline(time.Now().Add(c.progress)) // fails only where the write will
	}
	return c.Conn.Write(p)
}

// CloseWrite tells the other side of a switched connection that no more comes.
func (c *movingConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
