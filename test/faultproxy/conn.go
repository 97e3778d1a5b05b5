package faultproxy

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// farewell is how long replies are waited for after a client has stopped
// sending.
const farewell = time.Second

// errEnd ends a connection on purpose.
var errEnd = errors.New("end of the connection")

// conn is one client's connection and the server's behind it. One goroutine
// reads requests, another replies; when one ends it closes both ends.
type conn struct {
	p          *Proxy
	client     net.Conn
	flight     *flight
	subscribed atomic.Bool
	lost       atomic.Bool   // bytes of it are lost, so it is no use once the fault is over
	done       chan struct{} // closed by close

	closing atomic.Bool
	server  atomic.Pointer[net.Conn] // nil until dialed

	// Of the goroutine that reads requests:
	multi, aborted bool // in a transaction; one with a refused command
}

func newConn(p *Proxy, client net.Conn) *conn {
	return &conn{p: p, client: client, flight: newFlight(&p.counters), done: make(chan struct{})}
}

func (c *conn) now() *condition { return c.p.condition.Load() }

// close ends the connection: by RST if reset, as after an error, else by FIN.
func (c *conn) close(reset bool) {
	if !c.closing.CompareAndSwap(false, true) {
		return
	}
	close(c.done)
	c.flight.end()
	if tcp, ok := c.client.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // else it ends by FIN
	}
	_ = c.client.Close() // both ends are given up
	if s := c.server.Load(); s != nil {
		_ = (*s).Close()
	}
}

// lose says that bytes of the connection are lost.
func (c *conn) lose() {
	c.lost.Store(true)
	// A fault that is set now finds the connection lost; one that was set before
	// is seen here.
	if !c.now().loses() {
		c.close(true)
	}
}

// swallow reads what comes from one end until the connection is over.
func (c *conn) swallow(from net.Conn) error {
	c.lose()
	_, err := io.Copy(io.Discard, struct{ io.Reader }{from})
	return errors.Join(errEnd, err)
}

func (c *conn) run() {
	defer c.close(false)
	if c.now().silent() {
		_ = c.swallow(c.client) // nobody is there to be told
		return
	}
	server, err := c.p.dial()
	if err != nil {
		c.close(true)
		return
	}
	c.server.Store(&server)
	if c.closing.Load() { // meanwhile, so that close did not see the server
		_ = server.Close()
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer c.close(false)
		_ = c.replies(server) // whatever it was, the connection is over
	}()
	if err := c.requests(server); errors.Is(err, io.EOF) {
		c.goodbye(server)
	} else {
		c.close(false)
	}
	<-ended
}

// goodbye tells the server that its client sends no more.
func (c *conn) goodbye(server net.Conn) {
	half, ok := server.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || server.SetReadDeadline(time.Now().Add(farewell)) != nil {
		c.close(false)
	}
}

// replies copies the server's replies to the client.
func (c *conn) replies(server net.Conn) error {
	w := bufio.NewWriterSize(c.client, bufSize)
	in := &tap{c: c, from: server, flush: w.Flush, reply: true}
	r := bufio.NewReaderSize(in, bufSize)
	var delayed int64 // the last arrival that was
	for {
		first, err := r.Peek(1)
		if err != nil {
			return err
		}
		if delayed != in.arrivals {
			delayed = in.arrivals
			if err := c.delay(w); err != nil {
				return err
			}
		}
		if c.now().silent() {
			return c.swallow(server)
		}
		e, due := c.flight.next()
		if !due || first[0] == '>' {
			c.p.counters.add(func(s *Stats) { s.Pushes++ })
			if err := copyReply(w, r); err != nil {
				return err
			}
			continue
		}
		if err := c.deliver(w, r, e); err != nil {
			return errors.Join(err, w.Flush())
		}
	}
}

// deliver gives the client the reply that was expected, or what a fault makes
// of it. It relies on a bufio.Writer keeping the end of what was written last
// until it is flushed, which is so for chunks that fit into it: so a reply is
// off the queue before its client has it whole.
func (c *conn) deliver(w *bufio.Writer, r *bufio.Reader, e expected) error {
	do := e.do
	if do != Refuse && do != c.now().Reply.Do { // over by now
		do = Pass
	}
	if do == Pass {
		if err := copyReply(w, r); err != nil {
			return err
		}
		c.flight.answered()
		return nil
	}
	var reply clipping
	if err := copyReply(&reply, r); err != nil {
		return err
	}
	if do == Drop {
		if err := w.Flush(); err != nil {
			return err
		}
		return c.swallow(*c.server.Load())
	}
	c.flight.answered()
	var err error
	switch do {
	case Refuse:
		_, err = w.WriteString(e.text)
	case Garble:
		_, err = w.WriteString(garbled)
		c.lose()
	case Truncate:
		_, err = w.Write(reply[:len(reply)/2])
		err = errors.Join(errEnd, err)
	}
	return err
}

// delay holds up what has arrived.
func (c *conn) delay(w *bufio.Writer) error {
	now := c.now()
	d := now.Delay
	if now.Jitter > 0 {
		d += rand.N(now.Jitter)
	}
	if d == 0 {
		return nil
	}
	if err := w.Flush(); err != nil { // the end of what came before
		return err
	}
	return c.sleep(now, d)
}

// sleep waits until d is over or the fault is another.
func (c *conn) sleep(now *condition, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-now.changed:
	case <-c.done:
		return errEnd
	}
	return nil
}

// clipping keeps the beginning of what is written.
type clipping []byte

func (b *clipping) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), bufSize-len(*b))]...)
	return len(p), nil
}
