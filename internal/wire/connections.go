package wire

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Connections bounds the connections of clients, on all listeners that share it. The zero value has no bounds.
// Connections that are open go on whatever happens; new ones wait in the kernel.
type Connections struct {
	Most      int                        // at once; 0: no bound
	PerClient int                        // from one address (of IPv6: a /64); 0: no bound
	Exempt    func(addr netip.Addr) bool // from PerClient; nil: none
	Tight     func() bool                // memory is scarce: new connections are let in slowly. nil: never

	mu      sync.Mutex // guards what follows
	open    map[*checkedConn]struct{}
	clients map[netip.Prefix]int
	waiting int // listeners that have been let accept one
	refused uint64
}

const (
	// look is how often a listener looks for room, and thus how often one connection is let in while
	// memory is scarce.
	look = 20 * time.Millisecond
	// spare is how long a connection must have been idle to be closed for another: not one of a client that
	// asks every now and then.
	spare = 5 * time.Second
	// evicted is the share of such connections that are closed at once.
	evicted = 16
)

// await returns when one more connection may be accepted; false: the listener is closed.
func (c *Connections) await(closed *atomic.Bool) bool {
	for slowly := false; !closed.Load(); slowly = true {
		if c.reserve(slowly) {
			return true
		}
		time.Sleep(look)
	}
	return false
}

// reserve counts a connection before it is accepted. slowly lets it in although memory is scarce.
func (c *Connections) reserve(slowly bool) bool {
	tight := c.Tight != nil && c.Tight()
	c.mu.Lock()
	full := c.Most > 0 && len(c.open)+c.waiting >= c.Most
	ok := !full && (!tight || slowly)
	if ok {
		c.waiting++
	}
	c.mu.Unlock()
	if full || tight {
		c.closeIdle(time.Now())
	}
	return ok
}

// closeIdle closes connections that have been idle for longest: a client that has a request opens another.
func (c *Connections) closeIdle(now time.Time) {
	before := now.Add(-spare).UnixNano()
	c.mu.Lock()
	var idle []*checkedConn
	for conn := range c.open {
		if since := conn.idleSince.Load(); since > 0 && since < before {
			idle = append(idle, conn)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(idle, func(a, b *checkedConn) int { return int(a.idleSince.Load() - b.idleSince.Load()) })
	for i, conn := range idle {
		if i > len(idle)/evicted {
			return
		}
		_ = conn.Close() // it ends either way
	}
}

// accepted counts the connection for which there was a reservation; nil: none came.
func (c *Connections) accepted(conn *checkedConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
	if conn == nil {
		return
	}
	if c.open == nil {
		c.open, c.clients = map[*checkedConn]struct{}{}, map[netip.Prefix]int{}
	}
	c.open[conn] = struct{}{}
}

// admit reports whether the client may have one more connection. It asks for the address, for which a
// PROXY header may have to be read.
func (c *Connections) admit(conn *checkedConn) bool {
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || c.PerClient == 0 {
		return true // a unix socket
	}
	addr := peer.Addr().Unmap().WithZone("")
	if c.Exempt != nil && c.Exempt(addr) {
		return true
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	client, _ := addr.Prefix(bits) // the address has as many
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, open := c.open[conn]; !open || c.clients[client] >= c.PerClient {
		c.refused++
		return false
	}
	c.clients[client]++
	conn.client = client
	return true
}

// ended is called once a connection is closed, any number of times.
func (c *Connections) ended(conn *checkedConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, open := c.open[conn]; !open {
		return
	}
	delete(c.open, conn)
	if conn.client.IsValid() {
		if c.clients[conn.client]--; c.clients[conn.client] == 0 {
			delete(c.clients, conn.client)
		}
	}
}

// Open is how many connections there are, and how many were closed because of PerClient.
func (c *Connections) Open() (open int, refused uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), c.refused
}
