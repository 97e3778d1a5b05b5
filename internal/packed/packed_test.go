package packed_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/jewgo/gateway/internal/packed"
)

func TestReader(t *testing.T) {
	b := packed.AppendTexts(packed.AppendText(binary.AppendVarint(nil, -7), "name"), []string{"a", "", "ccc"})
	b = append(binary.AppendUvarint(b, 300), 'z', 1, 2)
	read := func(b []byte) (*packed.Reader, bool) {
		r := &packed.Reader{Rest: b}
		same := r.Varint() == -7 && r.Text() == "name" && slices.Equal(r.Texts(), []string{"a", "", "ccc"}) &&
			r.Uvarint() == 300 && r.Byte() == 'z' && bytes.Equal(r.Bytes(2), []byte{1, 2})
		return r, same
	}
	if r, same := read(b); !same || !r.Whole() {
		t.Errorf("%+v", r)
	}
	for n := range b { // truncated input is never accepted
		if r, _ := read(b[:n]); r.Whole() {
			t.Errorf("cut at %d: %+v", n, r)
		}
	}
	if r, _ := read(append(b, 0)); r.Whole() {
		t.Error("extra bytes are accepted")
	}
}

// Input with a false length does not allocate memory for it.
func FuzzReader(f *testing.F) {
	f.Add(packed.AppendTexts(nil, []string{"a", "b"}))
	f.Add(binary.AppendUvarint(nil, 1<<62))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := packed.Reader{Rest: b}
		list := r.Texts()
		if len(list) > len(b) || r.Bad && len(r.Rest) > 0 {
			t.Errorf("%d texts of %d bytes, %+v", len(list), len(b), r)
		}
	})
}
