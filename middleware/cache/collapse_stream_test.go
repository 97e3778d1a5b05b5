package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// aStream returns a stream of a recording of at most limit bytes, and a function that feeds it.
func aStream(limit int64) (*stream, *recorder) {
	rec := &recorder{
		ReadCloser: io.NopCloser(strings.NewReader("")), want: -1, limit: limit, held: new(atomic.Int64), bound: 1 << 30,
		commit: func([]byte) {},
	}
	return newStream(rec), rec
}

func aSeat(ctx context.Context) *seat {
	c := &Cache{}
	return &seat{flight: &flight{cache: c, unattended: true}, ctx: ctx, stop: func() bool { return true }}
}

func mustRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func TestReadersOfAStreamGoAtTheirOwnPace(t *testing.T) {
	s, rec := aStream(100)
	fast, _ := s.reader(aSeat(t.Context()))
	slow, _ := s.reader(aSeat(t.Context()))
	for _, chunk := range []string{"one ", "two ", "three"} {
		rec.add([]byte(chunk))
		s.grow(rec.body)
		mustRead(t, fast, chunk)
	}
	s.end(io.EOF)
	late, ok := s.reader(aSeat(t.Context()))
	if !ok {
		t.Fatal("a recorded body has lost its beginning")
	}
	for _, r := range []*reader{slow, late} {
		if got, err := io.ReadAll(r); err != nil || string(got) != "one two three" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestAStreamThatOutgrowsItsRecordingSlides(t *testing.T) {
	s, rec := aStream(8)
	fast, _ := s.reader(aSeat(t.Context()))
	slow, _ := s.reader(aSeat(t.Context()))
	rec.add([]byte("01234567"))
	s.grow(rec.body)
	if rec.add([]byte("89")) {
		t.Fatal("recorded beyond the limit")
	}
	slid := make(chan error)
	go func() { slid <- s.slide(t.Context(), []byte("89")) }()
	select {
	case <-slid:
		t.Fatal("it does not wait for the fastest reader")
	case <-time.After(20 * time.Millisecond):
	}
	mustRead(t, fast, "0123")
	if err := <-slid; err != nil {
		t.Fatal(err)
	}
	if n := s.held.Load(); n != 8 {
		t.Errorf("%d bytes are counted, want the window's 8", n)
	}
	mustRead(t, fast, "456789")
	if _, err := slow.Read(make([]byte, 8)); !errors.Is(err, errBehind) {
		t.Errorf("behind the window: %v", err)
	}
	if _, ok := s.reader(aSeat(t.Context())); ok {
		t.Error("a new reader gets a body without its beginning")
	}
	slow.detach()
	fast.detach()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { slid <- s.slide(ctx, []byte("ab")) }()
	cancel()
	if err := <-slid; !errors.Is(err, context.Canceled) {
		t.Errorf("with no reader left: %v", err)
	}
	s.end(context.Canceled)
	if n := s.held.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

func TestAReaderEndsWithItsRequest(t *testing.T) {
	s, _ := aStream(8)
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := s.reader(aSeat(ctx))
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Bytes that readers got never change later.
func TestReadersRaceWithASlidingStream(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	s, rec := aStream(32 << 10)
	var readers sync.WaitGroup
	for range 4 {
		r, _ := s.reader(aSeat(t.Context()))
		readers.Go(func() {
			defer r.detach()
			got, err := io.ReadAll(r)
			if !bytes.HasPrefix(content, got) || err == nil && len(got) != len(content) || err != nil && !errors.Is(err, errBehind) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	for at := 0; at < len(content); at += 1000 {
		chunk := content[at:min(at+1000, len(content))]
		if rec.add(chunk) {
			s.grow(rec.body)
		} else if err := s.slide(t.Context(), chunk); err != nil {
			t.Fatal(err)
		}
	}
	s.end(io.EOF)
	readers.Wait()
}

func TestWhatSlowReadersHoldIsCountedAndBounded(t *testing.T) {
	s, rec := aStream(1 << 20)
	rec.bound, s.bound = 1<<20, 1<<20
	body := make([]byte, 1<<20)
	r, _ := s.reader(aSeat(t.Context()))
	rec.add(body)
	s.grow(rec.body)
	rec.add([]byte("more"))
	ctx, cancel := context.WithCancel(t.Context())
	slid := make(chan error)
	go func() { slid <- s.slide(ctx, []byte("more")) }()
	env.Until(t, "1 MiB is counted before the client reads", func() bool { return s.held.Load() == 1<<20 })
	s.held.Add(1) // others have the rest
	mustRead(t, r, string(body[:len(body)-minWindow]))
	select {
	case <-slid:
		t.Fatal("it reads ahead of a slow client although there is no room")
	case <-time.After(20 * time.Millisecond):
	}
	mustRead(t, r, string(body[:minWindow/2]))
	if err := <-slid; err != nil {
		t.Fatal(err)
	}
	if n := s.held.Load() - 1; n != minWindow {
		t.Errorf("%d bytes are kept, want %d", n, minWindow)
	}
	mustRead(t, r, string(body[:minWindow/2])+"more")
	cancel()
	s.end(io.EOF)
	if n := s.held.Load() - 1; n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}
