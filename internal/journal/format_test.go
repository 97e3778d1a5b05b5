package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"
)

// logOf is a log file of the records, and where each frame begins.
func logOf(records ...Record) (data []byte, starts []int) {
	m := newMark()
	data = m.head()
	for _, r := range records {
		n, err := r.normal()
		if err != nil {
			panic(err)
		}
		starts = append(starts, len(data))
		data = m.appendFrame(data, n)
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
		if err != nil || len(c.records) != whole || c.end != int64(starts[whole]) || c.torn != int64(n)-c.end || c.damaged != 0 {
			t.Fatalf("cut at %d: %d records, end %d, torn %d, damaged %d, %v; want %d records", n, len(c.records), c.end, c.torn, c.damaged, err, whole)
		}
	}
}

func TestParseAnyByteDamaged(t *testing.T) {
	var records []Record
	for i := range 5 {
		records = append(records, rec(fmt.Sprint("key", i), 1))
	}
	data, _ := logOf(records...)
	for i := range data {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(data)
			bad[i] ^= flip
			c, err := parse(bad)
			if err != nil {
				t.Fatalf("byte %d: %v", i, err)
			}
			if len(c.records) < 4 || c.damaged+c.torn == 0 {
				t.Fatalf("byte %d: %d records, %d bytes damaged, %d torn", i, len(c.records), c.damaged, c.torn)
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
	ends := append(bytes.Clone(abc), 0)
	var m mark
	copy(m[:], abc[8:])
	inner := rec("b", 1)
	inner.Value = newMark().appendFrame(nil, rec("invented", 9))
	other := binary.BigEndian.AppendUint16(bytes.Clone(magic), format+1)
	other = append(other, 1, 2, 3, 4)
	other = binary.BigEndian.AppendUint32(other, crc32.Checksum(other, castagnoli))
	planted, plantedStarts := logOf(rec("a", 1), inner, rec("c", 1))
	planted[plantedStarts[1]] ^= 1

	for _, c := range []struct {
		why           string
		data          []byte
		keys          string
		torn, damaged bool
		err           error
	}{
		{"an empty file is a new log", nil, "", false, false, nil},
		{"another program's file", []byte("#!/bin/sh\necho this is no journal\n"), "", false, true, nil},
		{"a later format is left alone", other, "", false, false, ErrFormat},
		{"zeros behind the end are of an unfinished write", append(ends, make([]byte, 4096)...), "a b c", true, false, nil},
		{"a frame of the head alone", append(bytes.Clone(abc), m[:]...), "a b c", true, false, nil},
		{"bytes that no write of ours left", append(bytes.Clone(abc), "garbage at the end"...), "a b c", false, true, nil},
		{"a hole in the middle", append(append(bytes.Clone(abc[:starts[1]+3]), make([]byte, starts[2]-starts[1]-3)...), abc[starts[2]:]...), "a c", false, true, nil},
		{"missing bytes in the middle", append(bytes.Clone(abc[:starts[1]+9]), abc[starts[2]:]...), "a c", false, true, nil},
		{"a damaged record whose value looks like a frame invents nothing", planted, "a c", false, true, nil},
	} {
		t.Run(c.why, func(t *testing.T) {
			got, err := parse(c.data)
			if !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			keys := ""
			for _, r := range got.records {
				keys += " " + r.Key
			}
			if keys != "" {
				keys = keys[1:]
			}
			if keys != c.keys || (got.torn > 0) != c.torn || (got.damaged > 0) != c.damaged {
				t.Errorf("records %q, %d bytes torn, %d damaged", keys, got.torn, got.damaged)
			}
		})
	}
}
