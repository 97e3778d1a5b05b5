package cache

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
)

// All recordings share one bound. A body beyond it passes unrecorded, and the bytes of a recording
// are released when it ends.
func TestRecordingsShareABound(t *testing.T) {
	var held atomic.Int64
	recorded := map[string]string{}
	record := func(name, body string) *recorder {
		return &recorder{
			ReadCloser: io.NopCloser(strings.NewReader(body)), want: int64(len(body)), limit: 100, held: &held, bound: 100,
			commit: func(b []byte) { recorded[name] = string(b) },
		}
	}
	first, second := record("first", strings.Repeat("1", 80)), record("second", strings.Repeat("2", 80))
	if _, err := io.ReadFull(first, make([]byte, 60)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(second); err != nil || len(b) != 80 {
		t.Fatalf("the second passes %d bytes, %v", len(b), err)
	}
	if _, err := io.ReadAll(first); err != nil {
		t.Fatal(err)
	}
	third := record("third", strings.Repeat("3", 80))
	if _, err := io.ReadAll(third); err != nil {
		t.Fatal(err)
	}
	abandoned := record("abandoned", strings.Repeat("4", 80))
	if _, err := io.ReadFull(abandoned, make([]byte, 60)); err != nil {
		t.Fatal(err)
	}
	if err := abandoned.Close(); err != nil {
		t.Fatal(err)
	}
	if len(recorded["first"]) != 80 || recorded["second"] != "" || len(recorded["third"]) != 80 || recorded["abandoned"] != "" {
		t.Errorf("recorded %v", recorded)
	}
	if held.Load() != 0 {
		t.Errorf("%d bytes are still counted", held.Load())
	}
}

// A kept body has little spare capacity, which would be kept too.
func TestRecordingsAreKeptTight(t *testing.T) {
	var held atomic.Int64
	for _, n := range []int{1, 600, 5000, 70_000} {
		kept := 0
		r := &recorder{
			ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", n))), want: -1, limit: 1 << 20, held: &held, bound: 1 << 20,
			commit: func(b []byte) { kept = cap(b) },
		}
		if _, err := io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if kept < n || kept-n > n/8 {
			t.Errorf("a body of %d bytes keeps %d", n, kept)
		}
	}
}
