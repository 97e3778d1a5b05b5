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
	// bufSize is the buffer size of a connection's readers, in bytes. It is larger than go-redis's write
	// buffer, so that a pipeline flushed in one write is read in one read.
	bufSize = 64 << 10
	// maxOwed bounds the unanswered commands of a connection.
	maxOwed = 1 << 16
	// placeholder is sent to the server in place of a command that the proxy answers. Its reply is
	// replaced by the answer.
	placeholder = "PING\r\n"
)

// errEnd ends a connection deliberately.
var errEnd = errors.New("end of the connection")

// owed is a reply that the server owes.
type owed struct {
	answer  string // sent in its place; "": the reply is sent
	drop    bool
	counted bool // as part of a round trip
}

// conn is a client's connection and the server's behind it. One goroutine reads requests, another
// replies; when one ends it closes both connections.
type conn struct {
	p      *Proxy
	client net.Conn
	server net.Conn      // nil if not dialed
	lost   atomic.Bool   // bytes were lost, so it is useless once the fault is over
	pubsub atomic.Bool   // replies come unrequested
	done   chan struct{} // closed by close

	mu      sync.Mutex // guards all below
	closed  bool
	owed    []owed // replies not received yet, in order
	counted int    // how many of owed are counted
}

func (c *conn) now() *condition { return c.p.condition.Load() }

// close ends the connection: by RST if reset, else by FIN.
func (c *conn) close(reset bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	close(c.done)
	if tcp, ok := c.client.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // if it fails, the connection ends by FIN
	}
	_ = c.client.Close() // errors do not matter any more
	if c.server != nil {
		_ = c.server.Close()
	}
}

// swallow discards everything from one side until the connection ends.
func (c *conn) swallow(from net.Conn) error {
	c.lost.Store(true)
	// A fault that is set from now on finds the connection lost; one that was set before is seen here.
	if now := c.now(); !now.silent() && !now.Drop {
		c.close(true)
	}
	_, err := io.Copy(io.Discard, struct{ io.Reader }{from})
	return errors.Join(errEnd, err)
}

func (c *conn) run() {
	defer c.close(false)
	if c.now().silent() {
		_ = c.swallow(c.client) // the connection is over
		return
	}
	server, err := c.p.dial()
	if err != nil {
		c.close(true)
		return
	}
	c.mu.Lock()
	c.server = server
	over := c.closed // close ran before server was set
	c.mu.Unlock()
	if over {
		_ = server.Close()
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer c.close(false)
		_ = c.replies() // whatever the error, the connection is over
	}()
	_ = c.requests() // as above
	c.close(false)
	<-ended
}

// requests forwards the client's commands. Commands that arrive together are forwarded together.
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

// ask decides on a command: raw is sent to the server, and if replied, the server owes the reply o.
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

// expect queues owed replies. It returns false if there are too many.
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

// next takes the next owed reply off the queue; false: none is owed. This happens before the reply is
// sent. Otherwise the client might send its next command first, and two round trips would look like
// one.
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

// replies forwards the server's replies.
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
			if raw[0] != '>' { // a push is not a reply
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

// delay waits for the fault's Delay, or until another fault is set.
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
