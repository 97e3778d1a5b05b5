package logwriter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reader simulates the log's reader: it may hang, refuse, or take a part.
type reader struct {
	mu      sync.Mutex
	got     bytes.Buffer
	answer  func(p []byte) (int, error) // nil: it takes everything
	hanging chan struct{}               // nil: it does not
	asked   chan struct{}               // receives each write, if there is room
	largest int
}

func newReader() *reader { return &reader{asked: make(chan struct{}, 1)} }

func (r *reader) Write(p []byte) (int, error) {
	select {
	case r.asked <- struct{}{}:
	default:
	}
	r.mu.Lock()
	hanging := r.hanging
	r.mu.Unlock()
	if hanging != nil {
		<-hanging
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := len(p), error(nil)
	if r.answer != nil {
		n, err = r.answer(p)
	}
	r.got.Write(p[:n])
	r.largest = max(r.largest, n)
	return n, err
}

func (r *reader) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func line(i int) string { return fmt.Sprintf("line %04d %s\n", i, strings.Repeat("x", 100)) }

func write(t *testing.T, w *Writer, text string) {
	t.Helper()
	if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

func TestLinesComeInOrderAndAreFlushed(t *testing.T) {
	r := newReader()
	w := New(r, 1<<20)
	var want strings.Builder
	for i := range 1000 {
		want.WriteString(line(i))
		write(t, w, line(i))
	}
	w.Close(10 * time.Second)
	if r.got.String() != want.String() {
		t.Errorf("got %d bytes, want %d", r.got.Len(), want.Len())
	}
	if w.Dropped() != 0 {
		t.Errorf("%d lines dropped", w.Dropped())
	}
	if r.largest > pipeBuf {
		t.Errorf("a write of %d bytes can be torn by another writer of the pipe", r.largest)
	}
	write(t, w, "too late\n")
	if w.Dropped() != 1 {
		t.Error("a line after Close is not counted")
	}
}

func TestAReaderThatHangsHoldsNobody(t *testing.T) {
	r := newReader()
	r.hanging = make(chan struct{})
	const lines, room = 1000, 10_000
	w := New(r, room)
	write(t, w, line(0))
	<-r.asked // the first line is being written
	for i := range lines {
		write(t, w, line(1+i))
	}
	kept := uint64(room / len(line(0)))
	if got := w.Dropped(); got != lines-kept {
		t.Errorf("%d dropped, want %d", got, lines-kept)
	}
	w.Close(time.Millisecond) // does not wait for the reader either
	close(r.hanging)
	<-w.done
	if got := uint64(strings.Count(r.got.String(), "\n")); got != 1+kept {
		t.Errorf("%d lines written, want %d", got, 1+kept)
	}
}

func TestAReaderThatComesBackFindsWhatHappensThen(t *testing.T) {
	r := newReader()
	r.answer = func([]byte) (int, error) { return 0, syscall.EPIPE }
	w := New(r, 1<<20)
	write(t, w, "gone 1\n")
	write(t, w, "gone 2\n")
	for w.Dropped() < 2 {
		time.Sleep(time.Millisecond)
	}
	r.set(func() { r.answer = nil })
	write(t, w, "back\n")
	w.Close(10 * time.Second)
	if r.got.String() != "back\n" {
		t.Errorf("got %q", r.got.String())
	}
}

// A partly written line is ended before the next one.
func TestATornLineIsEnded(t *testing.T) {
	r := newReader()
	r.answer = func([]byte) (int, error) { return 3, errors.New("disk full") }
	w := New(r, 1<<20)
	write(t, w, "one two\n")
	for w.Dropped() < 1 {
		time.Sleep(time.Millisecond)
	}
	r.set(func() { r.answer = nil })
	write(t, w, "three\n")
	w.Close(10 * time.Second)
	if r.got.String() != "one\nthree\n" {
		t.Errorf("got %q", r.got.String())
	}
}

// If another user made the pipe non-blocking, the writer waits for it.
func TestAFullPipeThatDoesNotWait(t *testing.T) {
	r := newReader()
	full := 3
	r.answer = func(p []byte) (int, error) {
		if full--; full >= 0 {
			return 0, syscall.EAGAIN
		}
		return len(p), nil
	}
	w := New(r, 1<<20)
	write(t, w, "one\n")
	w.Close(10 * time.Second)
	if r.got.String() != "one\n" || w.Dropped() != 0 {
		t.Errorf("got %q, %d dropped", r.got.String(), w.Dropped())
	}
}

// A line longer than an atomic pipe write is written by itself.
func TestALongLine(t *testing.T) {
	r := newReader()
	w := New(r, 1<<20)
	long := strings.Repeat("y", 3*pipeBuf) + "\n"
	r.hanging = make(chan struct{})
	write(t, w, line(0))
	<-r.asked
	for i := range 3 {
		write(t, w, line(i)+long)
	}
	hanging := r.hanging
	r.set(func() { r.hanging = nil })
	close(hanging)
	w.Close(10 * time.Second)
	if want := line(0) + line(0) + long + line(1) + long + line(2) + long; r.got.String() != want {
		t.Errorf("got %d bytes, want %d", r.got.Len(), len(want))
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	w := New(newReader(), 1<<20)
	defer w.Close(10 * time.Second)
	text := []byte(line(1))
	if n := testing.AllocsPerRun(1000, func() { _, _ = w.Write(text) }); n >= 1 {
		t.Errorf("%v allocations per line", n)
	}
}
