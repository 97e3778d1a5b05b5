package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/problem"
)

// Requests returns connections of which net/http reads well-formed requests alone. It tolerates what others
// read differently (a bare LF, a folded line, two lengths) and does not tell its handlers, so that the check
// must be made below it, where bytes are read. [Adapt] prepares an http.Server for them.
// HTTP/2 passes unchecked: its framing is not text.
type Requests struct {
	net.Listener
	Limits  Limits
	TLS     *tls.Config   // nil: plain HTTP
	H2C     bool          // in plain HTTP, connections may begin with HTTP/2
	Timeout time.Duration // of a TLS handshake, and of each head
	Bounds  *Connections  // required

	closed atomic.Bool
}

// Accept implements net.Listener. A TLS handshake is made with the first Read.
func (r *Requests) Accept() (net.Conn, error) {
	if !r.Bounds.await(&r.closed) {
		return nil, net.ErrClosed
	}
	raw, err := r.Listener.Accept()
	if err != nil {
		r.Bounds.accepted(nil)
		return nil, err
	}
	c := &checkedConn{Conn: raw, of: r}
	r.Bounds.accepted(c)
	if r.TLS != nil {
		c.secure = tls.Server(raw, r.TLS)
		c.Conn = c.secure
	}
	return c, nil
}

// Close implements net.Listener.
func (r *Requests) Close() error {
	r.closed.Store(true)
	return r.Listener.Close()
}

// checkedConn is a connection of Requests. net/http reads it from one goroutine at a time.
type checkedConn struct {
	net.Conn // that requests are read from
	of       *Requests
	secure   *tls.Conn            // Conn, if it is encrypted
	state    *tls.ConnectionState // nil before the handshake
	resets   resets

	admitted  bool         // by the bounds
	client    netip.Prefix // that counts; guarded by the bounds
	idleSince atomic.Int64 // in nanoseconds; 0: it is not idle

	unchecked bool             // it is HTTP/2, or was hijacked
	buf       []byte           // was read, and not passed on
	passing   int              // bytes of buf that may be passed on
	requests  int              // begun
	empty     int              // lines before the next request
	head      head             // of the next request, or of that whose body is read
	timed     bool             // the head has a deadline
	inBody    bool             // the head is passed on
	left      int64            // bytes of a body with a length
	chunks    chunks           // of another body
	refusal   *problem.Problem // of the last request; nil: none
	refused   string           // its first line
	broken    error            // of the handshake, or the body

	mu     sync.Mutex
	readBy time.Time     // deadline; guarded by mu
	closed bool          // guarded by mu
	wake   chan struct{} // closed when one of them changes; nil: nobody waits; guarded by mu
}

const (
	preface    = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // of HTTP/2 (RFC 9113, 3.4)
	emptyLines = 2                                  // that are ignored before a request (RFC 9112, 2.2)
	readSize   = 4 << 10
	// refusedMethod stands for a request that is refused. No client can send it.
	refusedMethod = "-"
	refusedHead   = refusedMethod + " * HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"
	refusedLine   = 256 // bytes of a refused request's first line that are kept for the log
)

// Read implements net.Conn.
func (c *checkedConn) Read(p []byte) (int, error) {
	if !c.admitted {
		c.admitted = true
		switch {
		case !c.of.Bounds.admit(c):
			c.broken = errNoHTTP
		case c.secure != nil:
			c.broken = c.handshake()
		}
	}
	for {
		switch {
		case c.broken != nil && c.passing == 0:
			return 0, c.broken
		case c.unchecked && len(c.buf) == 0:
			return c.Conn.Read(p)
		case c.unchecked:
			return c.pass(p, len(c.buf)), nil
		case c.passing > 0:
			n := c.pass(p, c.passing)
			c.passing -= n
			return n, nil
		case c.refusal != nil:
			return 0, c.discard()
		case len(p) == 1 && !c.inBody && c.requests > 0:
			return 0, c.watch(p)
		}
		if n, err := c.more(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// pass moves up to n bytes of buf to p.
func (c *checkedConn) pass(p []byte, n int) int {
	n = copy(p, c.buf[:n])
	if c.buf = c.buf[n:]; len(c.buf) == 0 {
		c.buf = nil // idle connections keep no memory
	}
	return n
}

// more judges what is in buf, and reads more if that is not enough. If buf is empty it reads into p, and
// returns how many bytes it has passed on: nearly every request comes in one read, and is not copied.
func (c *checkedConn) more(p []byte) (int, error) {
	if len(c.buf) > 0 {
		c.skipEmptyLines()
		good := c.judge(c.buf)
		switch {
		case c.refusal != nil:
			return 0, nil
		case good > 0 || c.broken != nil:
			c.passing = good
			return 0, nil
		}
		if cap(c.buf)-len(c.buf) < readSize/2 {
			c.buf = append(make([]byte, 0, len(c.buf)+readSize), c.buf...)
		}
		if !c.inBody && c.requests > 0 && !c.timed { // net/http has seen nothing of this head, and takes the connection for idle
			c.timed = true
			_ = c.SetReadDeadline(time.Now().Add(c.of.Timeout)) // it fails only if the connection is closed
		}
		n, err := c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		if n > 0 {
			err = nil // it will come again
		}
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		return 0, err
	}
	good := 0
	if c.inBody || p[0] != '\r' {
		if good = c.judge(p[:n]); c.refusal != nil {
			return 0, nil
		}
	}
	if good < n {
		c.buf = append(make([]byte, 0, n-good+readSize), p[good:n]...)
	}
	return good, nil
}

// skipEmptyLines drops them where a request begins.
func (c *checkedConn) skipEmptyLines() {
	for !c.inBody && !c.head.begun && c.empty < emptyLines && bytes.HasPrefix(c.buf, []byte("\r\n")) {
		c.buf = c.buf[2:]
		c.empty++
	}
}

// judge returns how many bytes of b, which begins after the last byte that was passed on, may be: a whole
// head, and its body as far as it is there.
func (c *checkedConn) judge(b []byte) int {
	n := 0
	if !c.inBody {
		if c.of.H2C && c.secure == nil && c.requests == 0 && strings.HasPrefix(preface, string(b[:min(len(b), len(preface))])) {
			if c.unchecked = len(b) >= len(preface); c.unchecked {
				return len(b)
			}
			return 0
		}
		c.head.limits = &c.of.Limits
		end, refusal := c.head.scan(b)
		if refusal != nil {
			c.refuse(refusal, b)
		}
		if end == 0 || refusal != nil {
			return 0
		}
		c.requests++
		c.timed = false
		c.inBody, c.left, n = true, c.head.length, end
	}
	if c.left == chunked {
		m, err := c.chunks.follow(b[n:], &c.of.Limits)
		n, c.broken = n+m, err
		if err != nil || c.chunks.at != bodyEnd {
			return n
		}
	} else {
		m := min(int64(len(b)-n), c.left)
		n += int(m) // at most len(b)
		if c.left -= m; c.left > 0 {
			return n
		}
	}
	c.inBody, c.empty, c.head, c.chunks = false, 0, head{}, chunks{}
	return n
}

// refuse ends the connection. A request of our own takes the place of the one that is refused, so that its
// answer comes after those before it, and is logged and counted as theirs are.
func (c *checkedConn) refuse(why *problem.Problem, b []byte) {
	line, _, _ := bytes.Cut(b[:min(len(b), refusedLine)], []byte("\n"))
	c.refusal, c.refused = why, string(bytes.TrimSuffix(line, []byte("\r")))
	c.buf, c.passing = []byte(refusedHead), len(refusedHead)
}

// discard reads what the client still sends: closing the connection before would reset it, and might take
// the answer away from the client.
func (c *checkedConn) discard() error {
	scratch := make([]byte, readSize)
	for {
		if _, err := c.Conn.Read(scratch); err != nil {
			return err
		}
	}
}

// watch notices while a request is served that its client leaves: net/http then reads one byte. If it is
// one of the next request, watch ends only when net/http stops that read: that request cannot be
// judged yet, since the connection may still be upgraded to another protocol.
func (c *checkedConn) watch(p []byte) error {
	if len(c.buf) == 0 {
		if n, err := c.Conn.Read(p); n == 0 {
			return err
		}
		c.buf = append(c.buf, p[0])
	}
	for {
		c.mu.Lock()
		wake, left, closed := make(chan struct{}), time.Until(c.readBy), c.closed
		bounded := !c.readBy.IsZero()
		c.wake = wake
		c.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case !bounded:
			<-wake
		case left <= 0:
			return os.ErrDeadlineExceeded
		default:
			select {
			case <-wake:
			case <-time.After(left):
			}
		}
	}
}

// errNoHTTP ends a connection without an answer: net/http gives none to an error of this type.
var errNoHTTP = &net.OpError{Op: "read", Err: errors.New("wire: the connection is not for HTTP")}

// handshake comes before the first byte of a request.
func (c *checkedConn) handshake() error {
	_ = c.SetDeadline(time.Now().Add(c.of.Timeout)) // it fails only if the connection is closed, as the handshake then does
	err := c.secure.Handshake()
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && isMethod(plain.RecordHeader[:2]) {
		_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis is an HTTPS server, and the request came in plain HTTP.\n") // best effort
	}
	if err != nil {
		return errNoHTTP
	}
	_ = c.SetWriteDeadline(time.Time{}) // as above
	_ = c.SetReadDeadline(time.Now().Add(c.of.Timeout))
	state := c.secure.ConnectionState()
	c.state = &state
	switch state.NegotiatedProtocol {
	case "", "http/1.1":
		return nil
	case "h2": // net/http would take HTTP/1.1 here too, and that would be unchecked
		c.unchecked = true
		c.buf = make([]byte, len(preface))
		if _, err := io.ReadFull(c.secure, c.buf); err == nil && string(c.buf) == preface {
			return nil
		}
	}
	return errNoHTTP // such as acme-tls/1, where the handshake was all
}

// SetReadDeadline implements net.Conn.
func (c *checkedConn) SetReadDeadline(t time.Time) error {
	c.changed(func() { c.readBy = t })
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *checkedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close implements net.Conn. Over TLS an alert comes first, which a client that takes nothing may hold up, or
// a Read that is answering it. Nobody waits for that: the servers close many connections in turn.
func (c *checkedConn) Close() error {
	c.changed(func() { c.closed = true })
	c.of.Bounds.ended(c)
	if c.secure == nil {
		return c.Conn.Close()
	}
	cut := time.AfterFunc(lastRead, func() { _ = c.secure.NetConn().Close() }) // it ends either way
	closed := make(chan error, 1)
	go func() { // ends with the connection
		defer cut.Stop()
		closed <- c.secure.Close()
	}()
	select {
	case err := <-closed:
		return err
	case <-time.After(lastAlert):
		return nil
	}
}

// changed makes a change that watch waits for.
func (c *checkedConn) changed(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// CloseWrite is used by net/http and httputil, which close one direction first.
func (c *checkedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
