package faultproxy

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// bufSize is that of a connection's readers. It exceeds go-redis's own write
	// buffer, so that a pipeline flushed in one write is read in one read.
	bufSize = 64 << 10
	// maxOwed bounds the commands that a connection may have unanswered.
	maxOwed = 1 << 16
	// placeholder is what the server is sent in place of a command that the proxy
	// answers. Its reply makes room for the answer.
	placeholder = "PING\r\n"
)

// errEnd ends a connection on purpose.
var errEnd = errors.New("end of the connection")

// owed is a reply that the server owes.
type owed struct {
	answer  string // sent in its place; "": the reply is
	drop    bool
	counted bool // in the round trips
}

// conn is one client's connection and the server's behind it. One goroutine
// reads requests, another replies; when one ends it closes both ends.
type conn struct {
	p      *Proxy
	client net.Conn
	server net.Conn      // nil where none was dialed
	lost   atomic.Bool   // bytes of it are lost, so it is no use once the fault is over
	pubsub atomic.Bool   // what comes is not asked for
	done   chan struct{} // closed by close

	mu      sync.Mutex // guards all below
	closed  bool
	owed    []owed // what was asked and not answered, in order
	counted int    // of these
}

func (c *conn) now() *condition { return c.p.condition.Load() }

// close ends the connection: by RST if reset, as after an error, else by FIN.
func (c *conn) close(reset bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	close(c.done)
	if tcp, ok := c.client.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // else it ends by FIN
	}
	_ = c.client.Close() // both ends are given up
	if c.server != nil {
		_ = c.server.Close()
	}
}

// swallow reads what comes from one end until the connection is over.
func (c *conn) swallow(from net.Conn) error {
	c.lost.Store(true)
	// A fault that is set now finds the connection lost; one that was set before
	// is seen here.
	if now := c.now(); !now.silent() && !now.Drop {
		c.close(true)
	}
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
	c.mu.Lock()
	c.server = server
	over := c.closed // meanwhile, without the server
	c.mu.Unlock()
	if over {
		_ = server.Close()
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer c.close(false)
		_ = c.replies() // whatever it was, the connection is over
	}()
	_ = c.requests() // as above
	c.close(false)
	<-ended
}

// requests passes the client's commands on. What has arrived together goes on
// together.
func (c *conn) requests() error {
	r := bufio.NewReaderSize(c.client, bufSize)
	for {
		var out []byte
		var due []owed
		for first := true; first || r.Buffered() > 0; first = false {
			cmd, err := readCommand(r)
			if err != nil {
				return err
			}
			raw, o, replied := c.ask(cmd)
			out = append(out, raw...)
			if replied {
				due = append(due, o)
			}
		}
		if c.now().silent() {
			return c.swallow(c.client)
		}
		if !c.expect(due) {
			return errEnd
		}
		if _, err := c.server.Write(out); err != nil {
			return err
		}
	}
}

// ask decides what becomes of a command: what the server is sent, and whether it
// owes a reply, and which.
func (c *conn) ask(cmd command) (raw []byte, o owed, replied bool) {
	if strings.HasSuffix(cmd.name, "SUBSCRIBE") {
		c.pubsub.Store(true)
	}
	if c.pubsub.Load() {
		return cmd.raw, o, false
	}
	if !slices.Contains(handshake, cmd.name) && cmd.name != "PING" && !slices.Contains(*c.p.aside.Load(), cmd.key) {
		o.counted = true
		c.p.count(cmd.name)
	}
	now := c.now()
	if !now.hit(cmd.name) {
		return cmd.raw, o, true
	}
	if now.Answer != "" {
		o.answer = now.Answer + "\r\n"
		return []byte(placeholder), o, true
	}
	o.drop = true
	return cmd.raw, o, true
}

// expect queues replies. It reports false where too many are owed.
func (c *conn) expect(due []owed) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	counted := 0
	for _, o := range due {
		if o.counted {
			counted++
		}
	}
	if counted > 0 && c.counted == 0 {
		c.p.trips.Add(1)
	}
	c.owed, c.counted = append(c.owed, due...), c.counted+counted
	return len(c.owed) <= maxOwed
}

// next takes the reply that is owed off the queue; false: none is. That comes
// before it is sent: else the client might ask again first, and two round trips
// would look like one.
func (c *conn) next() (o owed, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.owed) == 0 {
		return o, false
	}
	o, c.owed = c.owed[0], c.owed[1:]
	if o.counted {
		c.counted--
	}
	return o, true
}

// replies passes the server's replies on.
func (c *conn) replies() error {
	r := bufio.NewReaderSize(c.server, bufSize)
	for {
		var all [][]byte
		for first := true; first || r.Buffered() > 0; first = false {
			raw, err := readValue(r, nil, nil)
			if err != nil {
				return err
			}
			all = append(all, raw)
		}
		if err := c.delay(); err != nil {
			return err
		}
		if c.now().silent() {
			return c.swallow(c.server)
		}
		for _, raw := range all {
			if raw[0] != '>' { // which nobody asked for
				o, due := c.next()
				switch {
				case due && o.drop:
					return c.swallow(c.server)
				case due && o.answer != "":
					raw = []byte(o.answer)
				}
			}
			if _, err := c.client.Write(raw); err != nil {
				return err
			}
		}
	}
}

// delay holds up what has arrived, until its time is over or the fault is another.
func (c *conn) delay() error {
	now := c.now()
	d := now.Delay
	if now.Jitter > 0 {
		d += rand.N(now.Jitter)
	}
	if d == 0 {
		return nil
	}
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
