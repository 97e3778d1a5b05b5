package wire

import "errors"

// errMalformed ends a body whose chunks are malformed.
var errMalformed = errors.New("wire: the chunked body is malformed")

// Most bytes of a chunk's line: its length, and extensions, which nobody uses.
const maxChunkLine = 256

// place is a place in a chunked body (RFC 9112, 7.1).
type place uint8

const (
	inSize    place = iota // before or in the digits of a chunk's size
	inBlanks               // after the size, where only an extension may follow
	inExt                  // in extensions
	sizeLF                 // before the LF after them
	inData                 // in a chunk's data, or at its end
	dataLF                 // before the LF after data
	lineStart              // at the start of a line of trailers
	inName                 // in a trailer's name
	inValue                // in its value
	trailerLF              // before the LF after it
	lastLF                 // before the LF that ends the body
	bodyEnd                // after it
)

// chunks follows a chunked body without keeping any of it. The zero value is at its start.
type chunks struct {
	at   place
	size uint64 // of the chunk so far, or what is left of its data
	line int    // bytes of the chunk's line, or of all trailers
}

// follow goes on with b, and returns how many of its bytes belong to the body. limits bound the trailers.
func (c *chunks) follow(b []byte, limits *Limits) (n int, err error) {
	for n < len(b) && c.at != bodyEnd {
		if c.at == inData && c.size > 0 {
			skip := min(uint64(len(b)-n), c.size)
			n += int(skip) // at most len(b)
			c.size -= skip
			continue
		}
		if !c.step(b[n], limits) {
			return n, errMalformed
		}
		n++
	}
	return n, nil
}

// step takes one byte that is not data. It reports false if the byte may not stand there.
func (c *chunks) step(b byte, limits *Limits) bool {
	c.line++
	switch c.at {
	case inSize, inBlanks, inExt, sizeLF:
		return c.line <= maxChunkLine && c.stepSize(b)
	case inData:
		c.at = dataLF
		return b == '\r'
	case dataLF:
		*c = chunks{}
		return b == '\n'
	}
	return c.line <= limits.Head && c.stepTrailer(b)
}

// stepSize takes a byte of a chunk's line.
func (c *chunks) stepSize(b byte) bool {
	switch {
	case c.at == sizeLF:
		c.at = inData
		if c.size == 0 {
			c.at = lineStart
		}
		c.line = 0
		return b == '\n'
	case c.at == inSize && isHex(b):
		digit := uint64(b & 0xf)
		if b > '9' {
			digit += 9
		}
		c.size = c.size<<4 | digit
		return c.line <= 15 // digits: so it fits into an int64
	case c.line == 1: // no digit
		return false
	case b == ';':
		c.at = inExt
	case b == '\r' && c.at != inBlanks:
		c.at = sizeLF
	case c.at != inExt:
		c.at = inBlanks
		return b == ' ' || b == '\t'
	default:
		return isValueBytes([]byte{b})
	}
	return true
}

// stepTrailer takes a byte of the trailers.
func (c *chunks) stepTrailer(b byte) bool {
	switch c.at {
	case lineStart:
		if b == '\r' {
			c.at = lastLF
			return true
		}
		c.at = inName
		return isToken[b]
	case inName:
		if b == ':' {
			c.at = inValue
			return true
		}
		return isToken[b]
	case inValue:
		if b == '\r' {
			c.at = trailerLF
			return true
		}
		return isValueBytes([]byte{b})
	case trailerLF:
		c.at = lineStart
		return b == '\n'
	}
	c.at = bodyEnd
	return b == '\n'
}
