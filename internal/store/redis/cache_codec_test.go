package redis

import (
	"bytes"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// FuzzDecodeEntry checks that any input is either refused or decoded to an entry that survives a
// round trip, and that a length in it allocates no more than the input has.
func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry(codecEntry()))
	part := codecEntry()
	part.First, part.Complete = 3, 10
	f.Add(encodeEntry(part))
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
