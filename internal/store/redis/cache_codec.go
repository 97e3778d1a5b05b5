package redis

import (
	"encoding/binary"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/jewgo/gateway/internal/packed"
	"github.com/jewgo/gateway/middleware/cache"
)

// cacheFormat is the first byte of every stored entry. Entries of another format, written by a
// newer or older version, are misses.
const cacheFormat = 4

var errCacheFormat = errors.New("not a cache entry of this format")

const (
	flagNoCache = 1 << iota
	flagNeverStale
	flagOwnTag
	flagPartial
	flagPacked // the body is compressed
	knownFlags = 1<<iota - 1
)

const (
	// maxGeneration is within what Lua scripts, whose numbers are floats, can count exactly.
	maxGeneration = 1 << 52
	// maxSpan exceeds every duration that a response may state (RFC 9111, 1.2.2).
	maxSpan = 1 << 32 * time.Second
)

// maxURL bounds the URLs by which entries are found; that of an entry with a longer one is cut.
const maxURL = 2 << 10

// encodeEntry writes an entry, its URL first: numbers as varints, strings and lists preceded by their length. The
// body is last, after its length, which is that before it was compressed (zstd, RFC 8878).
func encodeEntry(e *cache.Entry) []byte {
	b := make([]byte, 0, e.Size())
	b = append(b, cacheFormat)
	b = packed.AppendText(b, e.URL[:min(len(e.URL), maxURL)])
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
	at := len(b)
	b = append(b, flags)
	if e.Complete > 0 {
		b = binary.AppendVarint(b, e.First)
		b = binary.AppendVarint(b, e.Complete)
	}
	b = packed.AppendTexts(b, e.Vary)
	b = packed.AppendTexts(b, e.Selecting)
	b = packed.AppendTexts(b, e.Tags)
	for _, marks := range [][]cache.Mark{e.Marks, e.Soft} {
		b = binary.AppendUvarint(b, uint64(len(marks)))
		for _, m := range marks {
			b = binary.AppendUvarint(b, uint64(m.Slot))
			b = binary.AppendUvarint(b, m.Gen)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(e.Header)))
	for name, values := range e.Header {
		b = packed.AppendText(b, name)
		b = packed.AppendTexts(b, values)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Body)))
	if e.Compresses() {
		if packed := packer.EncodeAll(e.Body, b); len(packed)-len(b) < len(e.Body)-len(e.Body)/leastGain {
			packed[at] |= flagPacked
			return packed
		}
	}
	return append(b, e.Body...)
}

// A body is compressed for Redis if that saves at least a leastGain-th of it. The fastest level takes less
// time than a network of 1 Gbit/s does for what it saves.
const leastGain = 8

var packer, unpacker = func() (*zstd.Encoder, *zstd.Decoder) {
	w, err1 := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<18), zstd.WithLowerEncoderMem(true))
	r, err2 := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecoderLowmem(true))
	if err := errors.Join(err1, err2); err != nil {
		panic(err) // an option is out of range
	}
	return w, r
}()

// maxUnpacked exceeds every body that is put into Redis.
const maxUnpacked = 1 << 20

// unpack returns a body of that many bytes; false: it is none.
func unpack(b []byte, bytes uint64) ([]byte, bool) {
	if bytes > maxUnpacked {
		return nil, false
	}
	body, err := unpacker.DecodeAll(b, make([]byte, 0, bytes))
	return body, err == nil && uint64(len(body)) == bytes
}

// entryURL reads the URL from the beginning of an encoded entry; "": there is none.
func entryURL(b []byte) string {
	if len(b) == 0 || b[0] != cacheFormat {
		return ""
	}
	d := packed.Reader{Rest: b[1:]}
	return d.Text()
}

// decodeEntry reads the output of encodeEntry; the entry's body is a slice of b, unless it was compressed.
func decodeEntry(b []byte) (*cache.Entry, error) {
	if len(b) == 0 || b[0] != cacheFormat {
		return nil, errCacheFormat
	}
	d := packed.Reader{Rest: b[1:]}
	e := &cache.Entry{URL: d.Text(), Status: int(d.Uvarint()), Received: time.Unix(0, d.Varint()).UTC()}
	for _, p := range []*time.Duration{&e.InitialAge, &e.Fresh, &e.StaleWhileRevalidate, &e.StaleIfError, &e.Keep} {
		*p = time.Duration(d.Varint())
		d.Bad = d.Bad || p.Abs() > maxSpan
	}
	flags := d.Byte()
	d.Bad = d.Bad || flags > knownFlags
	if !d.Bad && flags&flagPartial != 0 {
		e.First, e.Complete = d.Varint(), d.Varint()
		d.Bad = d.Bad || e.First < 0 || e.Complete <= e.First
	}
	e.Vary, e.Selecting, e.Tags = d.Texts(), d.Texts(), d.Texts()
	for _, marks := range []*[]cache.Mark{&e.Marks, &e.Soft} {
		*marks = make([]cache.Mark, d.Count())
		for i := range *marks {
			slot, gen := d.Uvarint(), d.Uvarint()
			d.Bad = d.Bad || slot > math.MaxUint16 || gen > maxGeneration
			(*marks)[i] = cache.Mark{Slot: uint16(slot), Gen: gen}
		}
	}
	n := d.Count()
	e.Header = make(http.Header, n)
	for range n {
		name := d.Text()
		e.Header[name] = d.Texts()
	}
	if bytes := d.Uvarint(); !d.Bad && flags&flagPacked != 0 {
		body, whole := unpack(d.Rest, bytes)
		e.Body, d.Rest, d.Bad = body, nil, !whole
	} else {
		e.Body = d.Bytes(bytes)
	}
	d.Bad = d.Bad || e.Complete > 0 && int64(len(e.Body)) > e.Complete-e.First
	if !d.Whole() || len(e.Vary) != len(e.Selecting) || e.Status < 200 || e.Status > 999 {
		return nil, errCacheFormat
	}
	e.NoCache, e.NeverStale, e.OwnTag = flags&flagNoCache != 0, flags&flagNeverStale != 0, flags&flagOwnTag != 0
	return e, nil
}
