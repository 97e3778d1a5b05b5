// Package faultproxy stands between the gateway and its Redis and makes the
// network and the server fail in every way that they do, while it counts what a
// request costs in round trips. Tests and `gateway-drill redis` use the same
// proxy and the same catalogue of faults.
//
// It understands RESP2 and RESP3 as far as it takes to tell one command and one
// reply from the next. It does not speak TLS, and does not follow a cluster's
// redirections, which lead past it.
package faultproxy

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is one listener in front of one server. Its methods may be called from
// everywhere.
type Proxy struct {
	network, target string
	addr            string
	trips           atomic.Int64
	aside           atomic.Pointer[[]string]
	condition       atomic.Pointer[condition]
	ctx             context.Context // ends with Close
	cancel          context.CancelFunc
	running         sync.WaitGroup // the connections

	mu       sync.Mutex // guards what follows
	conns    map[*conn]struct{}
	commands map[string]int64

	setting sync.Mutex // guards what follows; held while a fault is put in place
	gate    gate
	closed  bool
	endFlap func() // ends the goroutine that flaps, if one does, and waits for it
}

// Listen starts a proxy on a free loopback port in front of target, host:port or
// unix:/path. The server need not be there yet: each connection dials it anew.
// The caller closes the proxy.
func Listen(target string) (*Proxy, error) {
	p := &Proxy{network: "tcp", target: target, conns: map[*conn]struct{}{}, commands: map[string]int64{}, endFlap: func() {}}
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		p.network, p.target = "unix", path
	} else if _, _, err := net.SplitHostPort(target); err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.condition.Store(&condition{changed: make(chan struct{})})
	p.SetAside()
	p.gate = gate{addr: "127.0.0.1:0", admit: p.admit}
	if err := p.gate.open(); err != nil {
		p.cancel()
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	p.addr = p.gate.addr
	return p, nil
}

// Addr is where the proxy listens, host:port, the same for its life.
func (p *Proxy) Addr() string { return p.addr }

// URL is Addr as a Redis URL, without a user or a database.
func (p *Proxy) URL() string { return "redis://" + p.addr }

// Set replaces the fault by f, for connections that stand as well as for new
// ones. When it returns, f is in place. An error says that f makes no sense,
// that the proxy is closed, or that its port could not be had back.
func (p *Proxy) Set(f Fault) error {
	if err := f.validate(); err != nil {
		return fmt.Errorf("set a fault: %w", err)
	}
	p.setting.Lock()
	defer p.setting.Unlock()
	if p.closed {
		return fmt.Errorf("set a fault: %w", net.ErrClosed)
	}
	p.endFlap()
	p.endFlap = func() {}
	if err := p.apply(f); err != nil {
		return fmt.Errorf("set a fault: %w", err)
	}
	if f.Flap != (Flap{}) {
		p.endFlap = p.startFlap(f)
	}
	return nil
}

// Heal passes everything again.
func (p *Proxy) Heal() error { return p.Set(Fault{}) }

// Close ends every connection and every goroutine of the proxy.
func (p *Proxy) Close() error {
	p.setting.Lock()
	defer p.setting.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.endFlap()
	p.cancel()
	p.gate.shut()
	p.each(func(c *conn) { c.close(false) })
	p.running.Wait()
	return nil
}

// apply puts f in place. Set calls it, or the goroutine that flaps while there
// is one: never both.
func (p *Proxy) apply(f Fault) error {
	old := p.condition.Swap(&condition{Fault: f, changed: make(chan struct{})})
	close(old.changed)
	var err error
	switch f.Link {
	case Cut:
		p.gate.shut()
	case Blackhole:
		err = p.gate.stuff()
	default:
		err = p.gate.open()
	}
	p.each(func(c *conn) {
		switch {
		case f.Link == Cut: // its process has ended in good order
			c.close(false)
		case f.Reset, c.lost.Load() && !f.silent() && !f.Drop:
			c.close(true)
		}
	})
	return err
}

// startFlap turns f off and on until the function that it returns is called.
func (p *Proxy) startFlap(f Fault) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for on := true; ; on = !on {
			phase, next := f.Flap.Down, Fault{Flap: f.Flap}
			if !on {
				phase, next = f.Flap.Up, f
			}
			select {
			case <-stop:
				return
			case <-time.After(phase):
			}
			// Should the port be taken, this phase is one of refused connections.
			if err := p.apply(next); err != nil {
				continue
			}
		}
	}()
	return func() { close(stop); <-ended }
}

// admit takes a connection over from the gate.
func (p *Proxy) admit(client net.Conn) {
	c := &conn{p: p, client: client, done: make(chan struct{})}
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	p.running.Go(func() {
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.conns, c)
		}()
		c.run()
	})
}

func (p *Proxy) each(do func(*conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		do(c)
	}
}

func (p *Proxy) dial() (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	server, err := d.DialContext(p.ctx, p.network, p.target)
	if err != nil {
		return nil, fmt.Errorf("dial the server: %w", err)
	}
	return server, nil
}

// Stats is what has gone through since the start or the last ResetStats, without
// the handshakes of connections, Pub/Sub, and what SetAside names.
type Stats struct {
	// RoundTrips is what clients waited for: one begins with a command that arrives
	// on a connection where nothing is unanswered, and ends with the reply to the last
	// that has arrived by then. So a pipeline flushed in one write is one. It is
	// counted when it begins, so whoever has an answer finds it counted.
	RoundTrips int64
	Commands   map[string]int64 // by name in upper case
}

// Stats returns a snapshot.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{p.trips.Load(), maps.Clone(p.commands)}
}

// ResetStats begins to count anew.
func (p *Proxy) ResetStats() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trips.Store(0)
	clear(p.commands)
}

// SetAside keeps commands whose first key is one of these out of the Stats: those of
// a probe, that would blur what a request costs.
func (p *Proxy) SetAside(aside ...string) { p.aside.Store(&aside) }

func (p *Proxy) count(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commands[name]++
}
