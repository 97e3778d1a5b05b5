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

// gate is the listening end: open, shut so that dials are refused, or stuffed so
// that they hang. It keeps its address through all of that. One goroutine at a
// time works it.
type gate struct {
	addr    string // host:port; before the first opening the port may be 0
	admit   func(net.Conn)
	l       *net.TCPListener // nil while shut
	done    chan struct{}    // closed when nobody accepts any more
	stuffed bool
	fillers []net.Conn // connections that fill the backlog
}

const (
	// reopening is how long to try to get the port back: for a moment it may be
	// the source port of somebody's connection.
	reopening = 3 * time.Second
	// hanging is how long a dial hangs until the backlog is taken for full.
	hanging = 100 * time.Millisecond
	// maxFillers bounds the tries to fill it.
	maxFillers = 8
)

// open accepts connections.
func (g *gate) open() error {
	if g.l != nil && !g.stuffed {
		return nil
	}
	g.shut() // and with it whoever waits in a full backlog
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
	_ = g.l.Close() // of a listener nothing is lost
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
	// Never closed in between: a dial in that moment would be refused.
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
			g.l = l.(*net.TCPListener) // by its network
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
		default: // out of files, as a rule, which passes
			time.Sleep(10 * time.Millisecond)
		}
	}
}
