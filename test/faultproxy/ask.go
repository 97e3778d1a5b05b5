package faultproxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
)

// What the server is sent in place of a command that is refused.
const (
	placeholder = "PING\r\n"
	discard     = "DISCARD\r\n"
)

// requests copies the client's commands to the server.
func (c *conn) requests(server net.Conn) error {
	w := bufio.NewWriterSize(server, bufSize)
	r := bufio.NewReaderSize(&tap{c: c, from: c.client, flush: w.Flush}, bufSize)
	var head []byte
	for {
		if _, err := r.Peek(1); err != nil {
			return err
		}
		c.flight.arrive()
		req, err := readRequest(r, head)
		if err != nil {
			return fmt.Errorf("read a command: %w", err)
		}
		head = req.head
		if err := c.ask(w, r, req); err != nil {
			return err
		}
	}
}

// ask passes one command on, or what a fault makes of it.
func (c *conn) ask(w *bufio.Writer, r *bufio.Reader, req request) error {
	if req.name == "" {
		c.flight.idle()
		return req.copyTo(w, r)
	}
	class := classOf(req.name)
	if err := c.hold(w, class); err != nil {
		return err
	}
	if class&Subscribe != 0 {
		c.subscribed.Store(true)
	}
	apart := c.subscribed.Load() || class&Handshake != 0 || (*c.p.aside.Load())[req.key()]
	c.p.counters.command(req.name, apart)
	e, instead := c.judge(req, class)
	if class&Subscribe != 0 && e.do != Refuse {
		c.flight.idle() // what it answers is pushed
		return req.copyTo(w, r)
	}
	if !c.flight.ask(e, apart) {
		return errEnd
	}
	if instead == "" {
		return req.copyTo(w, r)
	}
	if err := req.copyTo(io.Discard, r); err != nil {
		return err
	}
	_, err := w.WriteString(instead)
	return err
}

// hold withholds a command while a fault says so.
func (c *conn) hold(w *bufio.Writer, class Class) error {
	counted := false
	for {
		now := c.now()
		if now.Reply.Do != Hold || !counted && !now.hit(class) || !now.matches(class) {
			return nil
		}
		if !counted {
			counted = true
			c.p.counters.add(func(s *Stats) { s.Hits++ })
		}
		if err := w.Flush(); err != nil { // what came before it
			return err
		}
		select {
		case <-now.changed:
		case <-c.done:
			return errEnd
		}
	}
}

// judge decides what becomes of a command: what is expected of the server, and
// what it is sent instead.
func (c *conn) judge(req request, class Class) (e expected, instead string) {
	now := c.now()
	if c.multi && now.Reply.Only&Grow != 0 && req.name != "EXEC" && req.name != "DISCARD" {
		class |= Grow // the queue grows
	}
	do := now.Reply.Do
	switch {
	case class&Alien != 0, req.name == "CLIENT" && len(req.args) > 0 && strings.EqualFold(req.args[0], "REPLY"):
		return c.refuse(req.name, errAlien)
	case do != Hold && now.hit(class):
		c.p.counters.add(func(s *Stats) { s.Hits++ })
		if do == Refuse {
			return c.refuse(req.name, now.Reply.Error)
		}
		e.do = do
	}
	switch req.name {
	case "MULTI":
		c.multi = true
	case "EXEC":
		if c.aborted {
			e, instead = expected{do: Refuse, text: refusal(errExecAbort, "")}, discard
		}
		c.multi, c.aborted = false, false
	case "DISCARD", "RESET":
		c.multi, c.aborted = false, false
	}
	return e, instead
}

// refuse answers a command with an error, as a server does: it spoils the
// transaction, and ends it if the command is EXEC.
func (c *conn) refuse(name, text string) (e expected, instead string) {
	instead = placeholder
	c.aborted = c.multi
	if name == "EXEC" {
		text = errExecRefused + text
		if c.multi {
			instead = discard
		}
		c.multi, c.aborted = false, false
	}
	return expected{do: Refuse, text: refusal(text, name)}, instead
}
