package peers

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/journal"
)

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) journal.Record {
			r := rec(rapid.StringN(1, 20, 40).Draw(t, "key"), rapid.Uint64().Draw(t, "version"))
			r.Value = rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "value")
			return r
		}), 0, 10).Draw(t, "records")
		got, err := decodeBatch(encodeBatch(records))
		if err != nil || len(got) != len(records) {
			t.Fatalf("%d of %d records, %v", len(got), len(records), err)
		}
		for i, r := range records {
			if !same(got[i], r) {
				t.Fatalf("got %+v, want %+v", got[i], r)
			}
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	var records []journal.Record
	for i := range 100 {
		r := rec(fmt.Sprint(i), 1)
		r.Value = make([]byte, journal.MaxValue)
		records = append(records, r)
	}
	seen := 0
	for rest := records; len(rest) > 0; {
		n := nextBatch(rest)
		if b := encodeBatch(rest[:n]); n == 0 || len(b) > maxBatch {
			t.Fatalf("%d records take %d bytes", n, len(b))
		}
		rest, seen = rest[n:], seen+n
	}
	if seen != len(records) {
		t.Errorf("%d of %d records", seen, len(records))
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(encodeBatch([]journal.Record{rec("a", 1), rec("b", 2)}))
	f.Add([]byte{0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := decodeBatch(b)
		if err == nil && !bytes.Equal(encodeBatch(records), b) {
			t.Errorf("%+v has a second encoding", records)
		}
	})
}
