package redis

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jewgo/gateway/middleware/cache"
)

func codecEntry() *cache.Entry {
	return &cache.Entry{
		Status: 200, Header: http.Header{"A": {"1", "2"}, "B": {""}}, Body: []byte("body"),
		Vary: []string{"X"}, Selecting: []string{"1"},
		Received: time.Unix(1, 2).UTC(), InitialAge: 3, Fresh: -4, StaleWhileRevalidate: 5, StaleIfError: 6, Keep: 7,
		NoCache: true, OwnTag: true, Marks: []cache.Mark{{Slot: 8, Gen: 9}},
	}
}

func TestTruncatedEntriesAreRefused(t *testing.T) {
	whole := encodeEntry(codecEntry())
	if _, err := decodeEntry(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if e, err := decodeEntry(whole[:n]); err == nil {
			t.Fatalf("%d of %d bytes give %+v", n, len(whole), e)
		}
	}
	if _, err := decodeEntry(append(bytes.Clone(whole), 0)); err == nil {
		t.Error("an entry with an extra byte is accepted")
	}
	other := bytes.Clone(whole)
	other[0]++
	if _, err := decodeEntry(other); err == nil {
		t.Error("an entry of another version is accepted")
	}
}

func TestPartsKeepTheirPlace(t *testing.T) {
	part := codecEntry()
	part.First, part.Complete = 3, 10
	got, err := decodeEntry(encodeEntry(part))
	if err != nil || got.First != 3 || got.Complete != 10 || string(got.Body) != "body" {
		t.Errorf("%+v, %v", got, err)
	}
	part.Complete = 6 // the body goes beyond that
	if _, err := decodeEntry(encodeEntry(part)); err == nil {
		t.Error("a part that ends beyond the complete length is accepted")
	}
}

func TestEntriesBeyondAllBoundsAreRefused(t *testing.T) {
	for says, spoil := range map[string]func(*cache.Entry){
		"a lifetime of centuries":                func(e *cache.Entry) { e.Fresh = math.MaxInt64 },
		"one that ended centuries ago":           func(e *cache.Entry) { e.Keep = math.MinInt64 },
		"a generation that scripts cannot count": func(e *cache.Entry) { e.Marks[0].Gen = 1 << 53 },
	} {
		e := codecEntry()
		spoil(e)
		if got, err := decodeEntry(encodeEntry(e)); err == nil {
			t.Errorf("%s: %+v", says, got)
		}
	}
	whole := encodeEntry(codecEntry())
	flags := bytes.IndexByte(whole, flagNoCache|flagOwnTag)
	whole[flags] |= 1 << 7
	if e, err := decodeEntry(whole); err == nil {
		t.Errorf("an unknown flag: %+v", e)
	}
}

// listOf has a JSON list as body.
func listOf(bytes int) *cache.Entry {
	var b strings.Builder
	for i := 0; b.Len() < bytes; i++ {
		fmt.Fprintf(&b, `{"id": %d, "name": "Restaurant %x", "kosher": true},`, i, i*7919)
	}
	e := codecEntry()
	e.Header, e.Body = http.Header{"Content-Type": {"application/json"}}, []byte(b.String())
	return e
}

func TestBodiesAreCompressedWhereThatPays(t *testing.T) {
	noise := make([]byte, 10<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, tt := range []struct {
		name   string
		change func(*cache.Entry)
		packed bool
	}{
		{"a list", func(*cache.Entry) {}, true},
		{"a picture", func(e *cache.Entry) { e.Header.Set("Content-Type", "image/png") }, false},
		{"an encoded list", func(e *cache.Entry) { e.Header.Set("Content-Encoding", "br") }, false},
		{"a short list", func(e *cache.Entry) { e.Body = e.Body[:1000] }, false},
		{"noise that is called a list", func(e *cache.Entry) { e.Body = noise }, false},
	} {
		e := listOf(232 << 10)
		tt.change(e)
		b := encodeEntry(e)
		if packed := len(b) < len(e.Body)/4; packed != tt.packed {
			t.Errorf("%s: %d bytes take %d", tt.name, len(e.Body), len(b))
		}
		got, err := decodeEntry(b)
		if diff := cmp.Diff(e, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
}

func TestBrokenCompressionIsRefused(t *testing.T) {
	e := listOf(4 << 10)
	whole := encodeEntry(e)
	for at := len(whole) - 1; at > len(whole)-300; at-- {
		broken := bytes.Clone(whole)
		broken[at]++
		if got, err := decodeEntry(broken); err == nil && !bytes.Equal(got.Body, e.Body) {
			t.Errorf("with byte %d changed: another body", at)
		}
		if got, err := decodeEntry(whole[:at]); err == nil {
			t.Errorf("cut at %d: %d bytes", at, len(got.Body))
		}
	}
	large := listOf(maxUnpacked + 1)
	if got, err := decodeEntry(encodeEntry(large)); err == nil {
		t.Errorf("%d bytes were unpacked", len(got.Body))
	}
}

// FuzzDecodeEntry checks that any input is either refused or decoded to an entry that survives a
// round trip, and that a length in it allocates no more than the input has, or a compressed body may.
func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry(codecEntry()))
	part := codecEntry()
	part.First, part.Complete = 3, 10
	f.Add(encodeEntry(part))
	f.Add(encodeEntry(listOf(2 << 10)))
	f.Add([]byte{cacheFormat, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			return
		}
		again, err := decodeEntry(encodeEntry(e))
		if diff := cmp.Diff(e, again); err != nil || diff != "" {
			t.Errorf("written and read again: %v\n%s", err, diff)
		}
	})
}
