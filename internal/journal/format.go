package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A log file is a head and frames.
//
//	head   two equal blocks of 16 bytes: "gwjrnl", the format in 2 bytes, the
//	       file's mark in 4, the CRC of these 12 bytes
//	frame  the mark, the payload's length in 4 bytes, the CRC of both and of
//	       the payload, the payload
//
// Numbers are big-endian, the CRC is CRC-32C. The mark is random and made anew
// for each file, so that no value that somebody sends can look like a frame:
// this is what makes it safe to look for the next frame behind a damaged one.
// The head stands there twice, so that no single damage costs more than a record.
const (
	format    = 1
	markSize  = 4
	blockSize = 16
	headSize  = 2 * blockSize
	frameHead = markSize + 4 + 4
)

var (
	magic      = []byte("gwjrnl")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// ErrFormat is a log of another, presumably later format. It is left as it is.
var ErrFormat = errors.New("unknown format of the journal")

type mark [markSize]byte

func newMark() mark {
	var m mark
	_, _ = rand.Read(m[:]) // never fails
	return m
}

func (m mark) head() []byte {
	b := binary.BigEndian.AppendUint16(bytes.Clone(magic), format)
	b = append(b, m[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, b...)
}

func frameSize(r Record) int64 { return int64(frameHead + r.payloadSize()) }

func (m mark) appendFrame(b []byte, r Record) []byte {
	start := len(b)
	b = append(b, m[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.payloadSize()))
	b = append(b, 0, 0, 0, 0)
	b = r.appendPayload(b)
	binary.BigEndian.PutUint32(b[start+markSize+4:], frameSum(b[start:]))
	return b
}

// frameSum is the CRC of a whole frame without the CRC's own place.
func frameSum(frame []byte) uint32 {
	sum := crc32.Checksum(frame[:markSize+4], castagnoli)
	return crc32.Update(sum, castagnoli, frame[frameHead:])
}

// parseFrame reads the frame at the beginning of b and its size.
func (m mark) parseFrame(b []byte) (Record, int, error) {
	if len(b) < frameHead || !bytes.HasPrefix(b, m[:]) {
		return Record{}, 0, errEncoding
	}
	n := binary.BigEndian.Uint32(b[markSize:])
	if n > maxPayload || int(n) > len(b)-frameHead {
		return Record{}, 0, errEncoding
	}
	frame := b[:frameHead+int(n)]
	if frameSum(frame) != binary.BigEndian.Uint32(b[markSize+4:]) {
		return Record{}, 0, errEncoding
	}
	r, err := decodePayload(frame[frameHead:])
	return r, len(frame), err
}

// torn says whether b, in which no frame follows, is what a crash leaves of a
// write that was never acknowledged: a frame without its end, or a file made
// longer before its bytes came.
func (m mark) torn(b []byte) bool {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return true
	}
	if len(b) < frameHead {
		return bytes.HasPrefix(b, m[:min(len(b), markSize)]) || bytes.HasPrefix(m[:], b)
	}
	n := binary.BigEndian.Uint32(b[markSize:])
	return bytes.HasPrefix(b, m[:]) && n <= maxPayload && int(n) > len(b)-frameHead
}

// contents is what was found in a log file.
type contents struct {
	records []Record
	mark    mark
	end     int64 // where the next frame goes
	torn    int64 // bytes of an unfinished write behind the end
	damaged int64 // bytes that once were more than that
}

// parse reads a log file. Its error is ErrFormat alone: whatever else is wrong
// costs what it stands in and nothing around it.
func parse(data []byte) (contents, error) {
	var c contents
	var ok bool
	for at := 0; at <= blockSize && len(data) >= at+blockSize && !ok; at += blockSize {
		block := data[at : at+blockSize]
		if !bytes.HasPrefix(block, magic) || crc32.Checksum(block[:12], castagnoli) != binary.BigEndian.Uint32(block[12:]) {
			continue
		}
		if v := binary.BigEndian.Uint16(block[len(magic):]); v != format {
			return contents{}, fmt.Errorf("%w: %d, and this program knows %d", ErrFormat, v, format)
		}
		copy(c.mark[:], block[8:])
		ok = true
	}
	if !ok {
		c.damaged = int64(len(data))
		return c, nil
	}
	if len(data) < headSize || !bytes.Equal(data[:headSize], c.mark.head()) {
		c.damaged = int64(min(len(data), headSize))
	}
	c.frames(data)
	return c, nil
}

func (c *contents) frames(data []byte) {
	at := min(len(data), headSize)
	for at < len(data) {
		r, n, err := c.mark.parseFrame(data[at:])
		if err == nil {
			c.records, at = append(c.records, r), at+n
			continue
		}
		next := c.mark.nextFrame(data, at+1)
		if next < 0 {
			break
		}
		c.damaged, at = c.damaged+int64(next-at), next
	}
	c.end = int64(at)
	if rest := data[at:]; c.mark.torn(rest) {
		c.torn = int64(len(rest))
	} else {
		c.damaged += int64(len(rest))
	}
}

// nextFrame is where, from the offset on, the next whole frame begins, or -1.
func (m mark) nextFrame(data []byte, at int) int {
	for {
		i := bytes.Index(data[min(at, len(data)):], m[:])
		if i < 0 {
			return -1
		}
		at += i
		if _, _, err := m.parseFrame(data[at:]); err == nil {
			return at
		}
		at++
	}
}
