package faultproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// bufSize is that of every reader and writer of a connection: the most that
	// is held of a value of any size. It exceeds go-redis's own write buffer, so
	// that a pipeline flushed in one write is read in one read.
	bufSize = 32 << 10
	// maxLine bounds a line that carries a length: a type, digits, CR and LF.
	maxLine = 32
	// maxDepth bounds how deeply replies nest.
	maxDepth = 128
	// maxLength bounds a stated length or count, so that sums cannot overflow.
	maxLength = 1 << 40
)

// errMalformed is what a stream that is not RESP ends with.
var errMalformed = errors.New("malformed RESP")

func malformed(what string, got []byte) error {
	return fmt.Errorf("%w: %s %.32q", errMalformed, what, got)
}

const (
	null     = -1 // $-1, *-1
	streamed = -2 // $?, *?: of a length that shows in the end
)

// copyReply copies one whole reply of RESP2 or RESP3, with the attributes before
// it, to dst while it arrives. Aggregates and strings may be streamed. Lines of
// text are not looked into. No chunk is larger than src's buffer.
func copyReply(dst io.Writer, src *bufio.Reader) error {
	left := []int64{1} // values still to come, by level
	for len(left) > 0 {
		last := len(left) - 1
		if left[last] == 0 {
			left = left[:last]
			continue
		}
		kind, n, err := copyHeader(dst, src)
		if err != nil {
			return err
		}
		if kind == '.' {
			if left[last] != streamed {
				return malformed("end of nothing", nil)
			}
			left = left[:last]
			continue
		}
		if left[last] > 0 && kind != '|' { // an attribute comes before a value
			left[last]--
		}
		switch kind {
		case '$', '!', '=':
			err = copyString(dst, src, n)
		case '*', '~', '>', '%', '|':
			if n == null {
				break
			}
			if left = append(left, children(kind, n)); len(left) > maxDepth {
				return malformed("nesting", nil)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// children is how many values an aggregate of n elements holds.
func children(kind byte, n int64) int64 {
	if n > 0 && (kind == '%' || kind == '|') {
		return 2 * n
	}
	return n
}

// copyHeader copies the line with which a value begins. n is the length that it
// states, and 0 for a value that is a line.
func copyHeader(dst io.Writer, src *bufio.Reader) (kind byte, n int64, err error) {
	first, err := src.Peek(1)
	if err != nil {
		return 0, 0, err
	}
	switch kind = first[0]; kind {
	case '+', '-', ':', '_', '#', ',', '(':
		return kind, 0, copyText(dst, src)
	case '$', '!', '=', '*', '~', '>', '%', '|', '.':
	default:
		return 0, 0, malformed("type", first)
	}
	line, err := readLine(src)
	if err != nil {
		return 0, 0, err
	}
	switch text := string(line[1 : len(line)-2]); {
	case kind == '.':
		if text != "" {
			return 0, 0, malformed("end", line)
		}
	case text == "?" && strings.IndexByte("$*~%", kind) >= 0:
		n = streamed
	case text == "-1" && (kind == '$' || kind == '*'):
		n = null
	default:
		if n, err = parseLength(line); err != nil {
			return 0, 0, err
		}
	}
	_, err = dst.Write(line)
	return kind, n, err
}

// copyString copies the body of a string of n bytes, and what ends it.
func copyString(dst io.Writer, src *bufio.Reader, n int64) error {
	if n == null {
		return nil
	}
	if n != streamed {
		return copyBody(dst, src, n)
	}
	for {
		line, err := readLine(src)
		if err != nil {
			return err
		}
		if line[0] != ';' {
			return malformed("chunk", line)
		}
		n, err := parseLength(line)
		if err != nil {
			return err
		}
		if _, err := dst.Write(line); err != nil || n == 0 {
			return err
		}
		if err := copyBody(dst, src, n); err != nil {
			return err
		}
	}
}

// copyBody copies n bytes and the CR LF after them.
func copyBody(dst io.Writer, src *bufio.Reader, n int64) error {
	for n > 0 {
		if _, err := src.Peek(1); err != nil {
			return err
		}
		chunk, err := src.Peek(int(min(n, int64(src.Buffered()))))
		if err != nil {
			return err
		}
		if _, err := dst.Write(chunk); err != nil {
			return err
		}
		n -= int64(len(chunk))
		if _, err := src.Discard(len(chunk)); err != nil {
			return err
		}
	}
	end, err := src.Peek(2)
	if err != nil {
		return err
	}
	if string(end) != "\r\n" {
		return malformed("end of a string", end)
	}
	if _, err := dst.Write(end); err != nil {
		return err
	}
	_, err = src.Discard(2)
	return err
}

// copyText copies a line of any length.
func copyText(dst io.Writer, src *bufio.Reader) error {
	for {
		part, err := src.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if _, err := dst.Write(part); err != nil {
			return err
		}
		if err == nil {
			return nil
		}
	}
}

// readLine reads a line that carries a length, with its CR LF. It is valid until
// the next read.
func readLine(src *bufio.Reader) ([]byte, error) {
	for n := 1; n <= maxLine; n++ {
		// What has arrived is looked at before more is waited for: a line may be
		// the last thing that comes.
		if _, err := src.Peek(n); err != nil {
			return nil, err
		}
		window, err := src.Peek(min(maxLine, src.Buffered()))
		if err != nil {
			return nil, err
		}
		if end := bytes.IndexByte(window, '\n'); end >= 0 {
			line := window[:end+1]
			if len(line) < 3 || line[end-1] != '\r' {
				return nil, malformed("line", line)
			}
			_, err := src.Discard(len(line))
			return line, err
		}
		n = len(window)
	}
	return nil, malformed("line", nil)
}

// parseLength reads the digits between a line's type and its CR LF.
func parseLength(line []byte) (int64, error) {
	n, err := strconv.ParseUint(string(line[1:len(line)-2]), 10, 63)
	if err != nil || n > maxLength {
		return 0, malformed("length", line)
	}
	return int64(n), nil
}
