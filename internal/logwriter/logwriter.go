// Package logwriter keeps a slow log from delaying the program. Lines wait in a bounded queue for
// one goroutine that writes them. The reader at the other end may stall, or disappear and come
// back.
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

// Writer is an io.Writer for whole lines whose Write never blocks and never fails. A line that does
// not fit in the queue, or cannot be written, is dropped and counted.
type Writer struct {
	to   io.Writer
	room int // bound of waiting, in bytes

	mu      sync.Mutex
	waiting []byte // whole lines; guarded by mu
	closed  bool   // guarded by mu

	more    chan struct{} // lines are waiting, or the Writer is closed
	done    chan struct{}
	dropped atomic.Uint64 // lines
	torn    bool          // the last write ended within a line; used by the goroutine only
}

// New returns a Writer with a queue of up to room bytes; up to as many again may be in the write in
// progress. Close ends it.
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

// Close writes the waiting lines, for at most limit, so that a stalled reader cannot block the
// process's exit. Later lines are dropped.
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
	default: // run has a signal already
	}
}

func (w *Writer) drop(lines []byte) { w.dropped.Add(uint64(bytes.Count(lines, []byte{'\n'}))) }

// run writes all waiting lines at once, in order, until the Writer is closed. A write that hangs
// ends with the process.
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

// write writes whole lines. It drops lines that cannot be written, so that a reader that comes back
// sees present lines.
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
		case errors.Is(err, syscall.EAGAIN): // another user of the pipe made it non-blocking
			time.Sleep(againAfter)
		default:
			w.drop(lines)
			return
		}
	}
}

// pipeBuf is the size of a write that a pipe keeps in one piece (PIPE_BUF of Linux): several logs
// or processes may write to one pipe.
const pipeBuf = 4096

// atOnce is the length of the leading lines to pass to one write.
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

// againAfter is the wait before retrying a full non-blocking pipe.
const againAfter = 10 * time.Millisecond
