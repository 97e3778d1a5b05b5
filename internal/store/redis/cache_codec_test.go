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
		t.Error("a byte too many is taken")
	}
	other := bytes.Clone(whole)
	other[0]++
	if _, err := decodeEntry(other); err == nil {
		t.Error("another version's entry is taken")
	}
}

func TestPartsKeepTheirPlace(t *testing.T) {
	part := codecEntry()
	part.First, part.Complete = 3, 10
	got, err := decodeEntry(encodeEntry(part))
	if err != nil || got.First != 3 || got.Complete != 10 || string(got.Body) != "body" {
		t.Errorf("%+v, %v", got, err)
	}
	part.Complete = 6 // of which the body is no part
	if _, err := decodeEntry(encodeEntry(part)); err == nil {
		t.Error("a part that ends after the whole is taken")
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

// FuzzDecodeEntry checks that whatever Redis gives is refused or an entry that
// can be written and read again, and that a length in it allocates nothing that
// is not there.
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
