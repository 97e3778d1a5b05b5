package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// logOf returns a log file of the records, and the start of each frame.
func logOf(records ...Record) (data []byte, starts []int) {
	data = fileHead()
	for _, r := range records {
		n, err := r.Normal()
		if err != nil {
			panic(err)
		}
		starts = append(starts, len(data))
		data = appendFrame(data, n)
	}
	return data, starts
}

func keysOf(records []Record) map[string]bool {
	keys := map[string]bool{}
	for _, r := range records {
		keys[r.Key] = true
	}
	return keys
}

func TestParseTornAtEveryOffset(t *testing.T) {
	data, starts := logOf(rec("a", 1), rec("b", 1), rec("c", 1))
	starts = append(starts, len(data))
	for n := headSize; n <= len(data); n++ {
		whole := 0
		for whole+1 < len(starts) && starts[whole+1] <= n {
			whole++
		}
		c, err := parse(data[:n])
		if err != nil || len(c.records) != whole || c.torn != n-starts[whole] || c.damaged != 0 {
			t.Fatalf("cut at %d: %d records, torn %d, damaged %d, %v; want %d records", n, len(c.records), c.torn, c.damaged, err, whole)
		}
	}
}

// Whatever byte is damaged, no record is invented, and the damage is reported.
func TestParseAnyByteDamaged(t *testing.T) {
	var records []Record
	for i := range 5 {
		records = append(records, rec(fmt.Sprint("key", i), 1))
	}
	data, starts := logOf(records...)
	for i := range data {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(data)
			bad[i] ^= flip
			c, err := parse(bad)
			if err != nil && !errors.Is(err, ErrFormat) {
				t.Fatalf("byte %d: %v", i, err)
			}
			if err == nil && c.damaged+c.torn == 0 {
				t.Fatalf("byte %d: %d records, no damage", i, len(c.records))
			}
			for at, start := range starts {
				length := i >= start && i < start+4
				if i >= start && !length && len(c.records) < at { // earlier records must stay
					t.Fatalf("byte %d: %d records", i, len(c.records))
				}
			}
			for _, r := range c.records {
				if want := rec(r.Key, 1); !r.equal(want) {
					t.Fatalf("byte %d: invented %+v", i, r)
				}
			}
		}
	}
}

func TestParse(t *testing.T) {
	abc, starts := logOf(rec("a", 1), rec("b", 1), rec("c", 1))
	other := binary.BigEndian.AppendUint16(bytes.Clone(magic), format+1)
	flipped := bytes.Clone(abc)
	flipped[starts[1]+frameHead+3] ^= 1
	for _, c := range []struct {
		why           string
		data          []byte
		keys          string
		torn, damaged bool
		err           error
	}{
		{"an empty file is a new log", nil, "", false, false, nil},
		{"another program's file", []byte("#!/bin/sh\necho this is not a journal\n"), "", false, true, nil},
		{"another format is left unchanged", other, "", false, false, ErrFormat},
		{"zeros after the end come from an unfinished write", append(bytes.Clone(abc), make([]byte, 4096)...), "a b c", true, false, nil},
		{"an incomplete frame", append(bytes.Clone(abc), abc[starts[1]:starts[1]+5]...), "a b c", true, false, nil},
		{"bytes that the journal did not write", append(bytes.Clone(abc), "garbage at the end"...), "a b c", false, true, nil},
		{"a damaged record costs only itself", flipped, "a c", false, true, nil},
	} {
		t.Run(c.why, func(t *testing.T) {
			got, err := parse(c.data)
			if !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			var keys []string
			for _, r := range got.records {
				keys = append(keys, r.Key)
			}
			if strings.Join(keys, " ") != c.keys || (got.torn > 0) != c.torn || (got.damaged > 0) != c.damaged {
				t.Errorf("records %q, %d bytes torn, %d damaged", keys, got.torn, got.damaged)
			}
		})
	}
}
