// Package faultproxy is a proxy between the gateway and its Redis that simulates failures of the
// network and of the server, and counts round trips. Tests and `gateway-drill redis` use the same
// proxy and the same catalogue of faults.
//
// It parses RESP2 and RESP3 just enough to separate commands and replies. It does not speak TLS, and
// does not follow a cluster's redirections, which bypass it.
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

// Proxy is one listener in front of one server. Its methods are safe for concurrent use.
type Proxy struct {
	network, target string
	addr            string
	trips           atomic.Int64
	aside           atomic.Pointer[[]string]
	condition       atomic.Pointer[condition]
	ctx             context.Context // ends with Close
	cancel          context.CancelFunc
	running         sync.WaitGroup // the connections

	mu       sync.Mutex // guards conns and commands
	conns    map[*conn]struct{}
	commands map[string]int64

	setting sync.Mutex // guards the fields below; held while a fault is set
	gate    gate
	closed  bool
	endFlap func() // ends the flapping goroutine, if any, and waits for it
}

// Listen starts a proxy on a free loopback port in front of target, host:port or unix:/path. The
// server need not run yet, since each connection dials it. The caller must close the proxy.
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

// Addr returns the proxy's address, host:port, which never changes.
func (p *Proxy) Addr() string { return p.addr }

// URL is Addr as a Redis URL, without a user or a database.
func (p *Proxy) URL() string { return "redis://" + p.addr }

// Set replaces the fault by f, for existing and new connections. When it returns, f is in effect. It
// fails if f is invalid, the proxy is closed, or its port is taken.
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

// Heal removes the fault.
func (p *Proxy) Heal() error { return p.Set(Fault{}) }

// Close ends all connections and goroutines of the proxy. It never fails.
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

// apply puts f into effect. Either Set or the flapping goroutine calls it, never both at a time.
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
		case f.Link == Cut: // the server's process has ended
			c.close(false)
		case f.Reset, c.lost.Load() && !f.silent() && !f.Drop:
			c.close(true)
		}
	})
	return err
}

// startFlap turns f off and on until end is called.
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
			// If the port is taken, connections are refused in this phase.
			if err := p.apply(next); err != nil {
				continue
			}
		}
	}()
	return func() { close(stop); <-ended }
}

// admit serves a connection from the gate.
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

// Stats counts the traffic since the start or the last ResetStats, without handshakes, Pub/Sub, and
// the commands that SetAside names.
type Stats struct {
	// RoundTrips counts waits of clients. One begins with a command on a connection where none is
	// unanswered, and ends when all commands that have arrived by then are answered. So a pipeline
	// flushed in one write is one. It is counted at its beginning, before the client has an answer.
	RoundTrips int64
	Commands   map[string]int64 // by name in upper case
}

// Stats returns a snapshot.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{p.trips.Load(), maps.Clone(p.commands)}
}

// ResetStats sets all counts to 0.
func (p *Proxy) ResetStats() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trips.Store(0)
	clear(p.commands)
}

// SetAside excludes commands whose first key is one of these from the Stats, such as those of a probe.
func (p *Proxy) SetAside(aside ...string) { p.aside.Store(&aside) }

func (p *Proxy) count(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commands[name]++
}
