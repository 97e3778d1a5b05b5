package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// gate is the listener: open, shut so that dials are refused, or stuffed so that they hang. It always
// keeps its address. Only one goroutine at a time may use it.
type gate struct {
	addr    string // host:port; the port may be 0 before the first open
	admit   func(net.Conn)
	l       *net.TCPListener // nil while shut
	done    chan struct{}    // closed when accept has ended
	stuffed bool
	fillers []net.Conn // connections that fill the backlog
}

const (
	// reopening is how long to retry listening: for a moment the port may be the source port of another
	// connection.
	reopening = 3 * time.Second
	// hanging is how long a dial must hang for the backlog to count as full.
	hanging = 100 * time.Millisecond
	// maxFillers bounds the connections that fill the backlog.
	maxFillers = 8
)

// open accepts connections.
func (g *gate) open() error {
	if g.l != nil && !g.stuffed {
		return nil
	}
	g.shut() // also drops connections in a full backlog
	if err := g.listen(); err != nil {
		return err
	}
	g.done = make(chan struct{})
	go g.accept(g.l, g.done)
	return nil
}

// shut refuses connections.
func (g *gate) shut() {
	if g.l == nil {
		return
	}
	_ = g.l.Close() // a listener has no data to lose
	<-g.done
	for _, f := range g.fillers {
		_ = f.Close() // it never carried anything
	}
	g.l, g.stuffed, g.fillers = nil, false, nil
}

// stuff leaves connections hanging.
func (g *gate) stuff() error {
	if g.stuffed {
		return nil
	}
	if g.l == nil {
		if err := g.listen(); err != nil {
			return err
		}
		g.done = make(chan struct{})
		close(g.done)
	}
	// The listener is not closed in between, since a dial in that moment would be refused.
	if err := g.l.SetDeadline(time.Unix(1, 0)); err != nil {
		return fmt.Errorf("stop accepting: %w", err)
	}
	<-g.done
	g.stuffed = true
	if err := shrinkBacklog(g.l); err != nil {
		return fmt.Errorf("shrink the backlog: %w", err)
	}
	for range maxFillers {
		f, err := net.DialTimeout("tcp", g.addr, hanging)
		if err != nil {
			break // it hung: the backlog is full
		}
		g.fillers = append(g.fillers, f)
	}
	return nil
}

func (g *gate) listen() error {
	for deadline := time.Now().Add(reopening); ; time.Sleep(10 * time.Millisecond) {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", g.addr)
		if err == nil {
			g.l = l.(*net.TCPListener) // since the network is tcp
			g.addr = l.Addr().String()
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return err
		}
	}
}

func (g *gate) accept(l net.Listener, done chan<- struct{}) {
	defer close(done)
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			g.admit(c)
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		default: // usually out of file descriptors, which is temporary
			time.Sleep(10 * time.Millisecond)
		}
	}
}
