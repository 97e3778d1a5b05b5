package redisdb

import (
	"encoding/binary"
	"errors"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/jewgo/gateway/middleware/cache"
)

// cacheFormat is the first byte of every stored entry. A gateway that finds
// another one, written by a newer or older version, has a miss.
const cacheFormat = 1

var errCacheFormat = errors.New("not an entry of this format")

const (
	flagNoCache = 1 << iota
	flagNeverStale
	flagOwnTag
	flagPartial
	knownFlags = 1<<iota - 1
)

const (
	// maxGeneration is what scripts, whose numbers are floats, count up exactly.
	maxGeneration = 1 << 52
	// maxSpan is more than any time that a response may state (RFC 9111, 1.2.2).
	maxSpan = 1 << 32 * time.Second
)

// encodeEntry writes an entry: numbers as varints, texts and lists with their
// length before them, the body last.
func encodeEntry(e *cache.Entry) []byte {
	b := make([]byte, 0, e.Size())
	b = append(b, cacheFormat)
	b = binary.AppendUvarint(b, uint64(e.Status))
	b = binary.AppendVarint(b, e.Received.UnixNano())
	for _, d := range []time.Duration{e.InitialAge, e.Fresh, e.StaleWhileRevalidate, e.StaleIfError, e.Keep} {
		b = binary.AppendVarint(b, int64(d))
	}
	var flags byte
	if e.NoCache {
		flags |= flagNoCache
	}
	if e.NeverStale {
		flags |= flagNeverStale
	}
	if e.OwnTag {
		flags |= flagOwnTag
	}
	if e.Complete > 0 {
		flags |= flagPartial
	}
	b = append(b, flags)
	if e.Complete > 0 {
		b = binary.AppendVarint(b, e.First)
		b = binary.AppendVarint(b, e.Complete)
	}
	b = appendTexts(b, e.Vary)
	b = appendTexts(b, e.Selecting)
	b = binary.AppendUvarint(b, uint64(len(e.Marks)))
	for _, m := range e.Marks {
		b = binary.AppendUvarint(b, uint64(m.Slot))
		b = binary.AppendUvarint(b, m.Gen)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Header)))
	for name, values := range e.Header {
		b = appendText(b, name)
		b = appendTexts(b, values)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Body)))
	return append(b, e.Body...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// decodeEntry reads what encodeEntry wrote; the entry's body is a part of b.
func decodeEntry(b []byte) (*cache.Entry, error) {
	if len(b) == 0 || b[0] != cacheFormat {
		return nil, errCacheFormat
	}
	d := entryDecoder{rest: b[1:]}
	e := &cache.Entry{Status: int(d.uvarint()), Received: time.Unix(0, d.varint()).UTC()}
	for _, p := range []*time.Duration{&e.InitialAge, &e.Fresh, &e.StaleWhileRevalidate, &e.StaleIfError, &e.Keep} {
		*p = time.Duration(d.varint())
		d.bad = d.bad || p.Abs() > maxSpan
	}
	flags := d.bytes(1)
	d.bad = d.bad || flags[0] > knownFlags
	if !d.bad && flags[0]&flagPartial != 0 {
		e.First, e.Complete = d.varint(), d.varint()
		d.bad = d.bad || e.First < 0 || e.Complete <= e.First
	}
	e.Vary, e.Selecting = d.texts(), d.texts()
	e.Marks = make([]cache.Mark, d.count())
	for i := range e.Marks {
		slot, gen := d.uvarint(), d.uvarint()
		d.bad = d.bad || slot > math.MaxUint16 || gen > maxGeneration
		e.Marks[i] = cache.Mark{Slot: uint16(slot), Gen: gen}
	}
	n := d.count()
	e.Header = make(http.Header, n)
	for range n {
		name := d.text()
		e.Header[name] = d.texts()
	}
	e.Body = d.bytes(d.uvarint())
	d.bad = d.bad || e.Complete > 0 && int64(len(e.Body)) > e.Complete-e.First
	if d.bad || len(d.rest) > 0 || len(e.Vary) != len(e.Selecting) || e.Status < 200 || e.Status > 999 {
		return nil, errCacheFormat
	}
	e.NoCache, e.NeverStale, e.OwnTag = flags[0]&flagNoCache != 0, flags[0]&flagNeverStale != 0, flags[0]&flagOwnTag != 0
	return e, nil
}

// entryDecoder reads forward; after the first mistake it is bad and gives zeros.
type entryDecoder struct {
	rest []byte
	bad  bool
}

func (d *entryDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.skip(n)
	if d.bad {
		return 0
	}
	return v
}

func (d *entryDecoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.skip(n)
	if d.bad {
		return 0
	}
	return v
}

func (d *entryDecoder) skip(n int) {
	if n <= 0 {
		d.bad, d.rest = true, nil
		return
	}
	d.rest = d.rest[n:]
}

func (d *entryDecoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *entryDecoder) text() string { return string(d.bytes(d.uvarint())) }

// count reads the length of a list, each element of which takes a byte at least.
func (d *entryDecoder) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return 0
	}
	return n
}

// texts reads a list, without spare capacity; an empty one is nil.
func (d *entryDecoder) texts() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.text()
	}
	return slices.Clip(list)
}
