package cache

import (
	"bytes"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// codings are the content codings in order of preference: the cheapest to write and read for its
// size comes first.
var codings = [...]string{"zstd", "br", "gzip"}

// codingFields are the values of Content-Encoding.
var codingFields = [len(codings)][]string{{"zstd"}, {"br"}, {"gzip"}}

// The levels are moderate: kept content is encoded once, streamed content each time. The windows
// bound the memory of an encoder to about 2 MiB, and that of its decoder, for which RFC 9659 allows
// 8 MiB.
const (
	gzipLevel   = 6
	brotliLevel = 5
	brotliLGWin = 18
	zstdLevel   = zstd.SpeedDefault
	zstdWindow  = 1 << 18
)

// maxOutput is the most output memory that an unused encoder keeps, in bytes.
const maxOutput = 256 << 10

// coder is what the writers of all codings have in common.
type coder interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// encoder is a writer with its output.
type encoder struct {
	coder
	out bytes.Buffer
}

// encoders are the unused ones, by coding.
var encoders [len(codings)]sync.Pool

func takeEncoder(coding int) *encoder {
	e, _ := encoders[coding].Get().(*encoder)
	if e == nil {
		e = &encoder{coder: newCoder(codings[coding])}
	}
	e.out.Reset()
	e.Reset(&e.out)
	return e
}

func giveEncoder(coding int, e *encoder) {
	if e.out.Cap() > maxOutput {
		e.out = bytes.Buffer{}
	}
	encoders[coding].Put(e)
}

// newCoder panics if a constant above is out of range.
func newCoder(coding string) coder {
	switch coding {
	case "zstd":
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstdLevel), zstd.WithWindowSize(zstdWindow),
			zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err)
		}
		return w
	case "br":
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: brotliLevel, LGWin: brotliLGWin})
	}
	w, err := gzip.NewWriterLevel(nil, gzipLevel)
	if err != nil {
		panic(err)
	}
	return w
}
