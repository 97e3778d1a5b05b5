package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A log file is a head followed by frames. The head is "gwjrnl" and the format in 2 bytes. A frame
// is the payload's length in 4 bytes, the CRC-32C of length and payload in 4 bytes, and the
// payload. Numbers are big-endian.
const (
	format    = 2
	headSize  = 6 + 2
	frameHead = 4 + 4
)

var (
	magic      = []byte("gwjrnl")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// ErrFormat means that the log has another format. It is left unchanged.
var ErrFormat = errors.New("unknown format of the journal")

func fileHead() []byte { return binary.BigEndian.AppendUint16(bytes.Clone(magic), format) }

func frameSize(r Record) int64 { return int64(frameHead + r.Size()) }

func appendFrame(b []byte, r Record) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Size()))
	b = append(b, 0, 0, 0, 0)
	b = r.AppendTo(b)
	binary.BigEndian.PutUint32(b[start+4:], frameSum(b[start:]))
	return b
}

// frameSum is the CRC of a whole frame except for the CRC field itself.
func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:4], castagnoli), castagnoli, frame[frameHead:])
}

// contents is what a log file contains.
type contents struct {
	records []Record
	torn    int // bytes of an unfinished write at the end, which was never acknowledged
	damaged int // bytes of records that cannot be read any more
}

// parse reads a log file. A frame with a wrong checksum is skipped; a wrong length costs all frames
// that follow.
func parse(data []byte) (c contents, err error) {
	switch {
	case len(data) < headSize && bytes.HasPrefix(fileHead(), data):
		return contents{torn: len(data)}, nil
	case len(data) < headSize, !bytes.HasPrefix(data, magic):
		return contents{damaged: len(data)}, nil
	}
	if v := binary.BigEndian.Uint16(data[len(magic):]); v != format {
		return c, fmt.Errorf("%w: %d, but this program supports %d", ErrFormat, v, format)
	}
	for data = data[headSize:]; len(data) > 0; {
		size := len(data)
		if len(data) >= frameHead {
			size = frameHead + int(binary.BigEndian.Uint32(data))
		}
		switch {
		case len(bytes.Trim(data, "\x00")) == 0, len(data) < frameHead, size > len(data) && size <= frameHead+maxPayload:
			c.torn += len(data)
			return c, nil
		case size > len(data):
			c.damaged += len(data)
			return c, nil
		}
		frame := data[:size]
		r, err := DecodeRecord(frame[frameHead:])
		if err != nil || frameSum(frame) != binary.BigEndian.Uint32(frame[4:]) {
			c.damaged += size
		} else {
			c.records = append(c.records, r)
		}
		data = data[size:]
	}
	return c, nil
}
