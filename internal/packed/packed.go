// Package packed writes and reads compact binary values: numbers as varints, texts and lists
// preceded by their length. Reading untrusted input never panics, and uses no more memory than the
// input's length allows.
package packed

import "encoding/binary"

// AppendText appends a text.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// AppendTexts appends a list of texts.
func AppendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = AppendText(b, s)
	}
	return b
}

// Reader reads forward. After the first error Bad is true and all reads return zero values.
type Reader struct {
	Rest []byte
	Bad  bool
}

// Whole reports whether everything was read, without an error.
func (r *Reader) Whole() bool { return !r.Bad && len(r.Rest) == 0 }

// Uvarint reads a number.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if !r.skip(n) {
		return 0
	}
	return v
}

// Varint reads a number that may be negative.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.Rest)
	if !r.skip(n) {
		return 0
	}
	return v
}

func (r *Reader) skip(n int) bool {
	if n <= 0 {
		r.Rest, r.Bad = nil, true
		return false
	}
	r.Rest = r.Rest[n:]
	return true
}

// Bytes reads n bytes, which are a slice of the input; nil if there are fewer.
func (r *Reader) Bytes(n uint64) []byte {
	if n > uint64(len(r.Rest)) {
		r.Rest, r.Bad = nil, true
		return nil
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Text reads a text.
func (r *Reader) Text() string { return string(r.Bytes(r.Uvarint())) }

// Count reads the length of a list whose elements take at least one byte each.
func (r *Reader) Count() uint64 {
	n := r.Uvarint()
	if n > uint64(len(r.Rest)) {
		r.Rest, r.Bad = nil, true
		return 0
	}
	return n
}

// Texts reads a list; an empty one is nil.
func (r *Reader) Texts() []string {
	n := r.Count()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.Text()
	}
	return list
}
