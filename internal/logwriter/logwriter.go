// Package logwriter keeps a log from holding up what is logged. Lines wait in a
// bounded queue for one goroutine that writes them; whoever reads the other end
// may stop, or go and come back.
package logwriter

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Writer is an io.Writer for whole lines whose Write never waits and never
// fails. A line that finds no room, or that cannot be written, is dropped and
// counted.
type Writer struct {
	to   io.Writer
	room int // bytes of waiting, at most

	mu      sync.Mutex
	waiting []byte // whole lines; guarded by mu
	closed  bool   // guarded by mu

	more    chan struct{} // something waits, or the Writer is closed
	done    chan struct{}
	dropped atomic.Uint64 // lines
	torn    bool          // the last write ended within a line; the goroutine's
}

// New returns a Writer that keeps up to room bytes of lines waiting, beside as
// many that are being written. Close ends it.
func New(to io.Writer, room int) *Writer {
	w := &Writer{to: to, room: room, more: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// Write implements io.Writer. p is one line or several, and is copied.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	full := w.closed || len(w.waiting)+len(p) > w.room
	if !full {
		w.waiting = append(w.waiting, p...)
	}
	w.mu.Unlock()
	if full {
		w.drop(p)
	} else {
		w.wake()
	}
	return len(p), nil
}

// Dropped is how many lines have been dropped so far.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Close writes what waits, for which it takes that long at most: a reader that
// does not read cannot keep the process. Later lines are dropped.
func (w *Writer) Close(limit time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wake()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
}

func (w *Writer) wake() {
	select {
	case w.more <- struct{}{}:
	default: // it knows
	}
}

func (w *Writer) drop(lines []byte) { w.dropped.Add(uint64(bytes.Count(lines, []byte{'\n'}))) }

// run writes all that waits at once, in the order in which it came, until the
// Writer is closed. A write that hangs ends with the process.
func (w *Writer) run() {
	defer close(w.done)
	var batch []byte
	for range w.more {
		w.mu.Lock()
		batch, w.waiting = w.waiting, batch[:0]
		closed := w.closed
		w.mu.Unlock()
		w.write(batch)
		if closed {
			return
		}
	}
}

// write writes whole lines. What cannot be written is dropped, so that a reader
// who comes back finds what happens then.
func (w *Writer) write(lines []byte) {
	if w.torn && len(lines) > 0 {
		if _, err := w.to.Write([]byte{'\n'}); err != nil {
			w.drop(lines)
			return
		}
		w.torn = false
	}
	for len(lines) > 0 {
		n, err := w.to.Write(lines[:atOnce(lines)])
		if n > 0 {
			w.torn = lines[n-1] != '\n'
		}
		lines = lines[n:]
		switch {
		case err == nil:
		case errors.Is(err, syscall.EAGAIN): // someone who shares the pipe made it one that does not wait
			time.Sleep(againAfter)
		default:
			w.drop(lines)
			return
		}
	}
}

// pipeBuf is what a pipe takes in one piece (PIPE_BUF of Linux): two logs, or two
// processes, may write to one.
const pipeBuf = 4096

// atOnce is the length of the lines at the start of lines that one write takes.
func atOnce(lines []byte) int {
	if len(lines) <= pipeBuf {
		return len(lines)
	}
	if last := bytes.LastIndexByte(lines[:pipeBuf], '\n'); last >= 0 {
		return last + 1
	}
	if end := bytes.IndexByte(lines, '\n'); end >= 0 {
		return end + 1
	}
	return len(lines)
}

// againAfter is when a pipe that was full, and does not wait, is tried again.
const againAfter = 10 * time.Millisecond
