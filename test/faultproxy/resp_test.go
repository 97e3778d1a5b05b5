package faultproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

var wholeReplies = []string{
	"+OK\r\n", "-ERR no\r\n", ":42\r\n", ":-1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(3492890328409238509324850943850943825024385\r\n",
	"+\r\n", "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "$5\r\nhe\r\no\r\n", "=7\r\ntxt:abc\r\n", "!9\r\nERR wrong\r\n",
	"*2\r\n+a\r\n$1\r\nb\r\n", "*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n$-1\r\n",
	"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", "~2\r\n:1\r\n:2\r\n", ">3\r\n+message\r\n+c\r\n+m\r\n",
	"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n", "*2\r\n|1\r\n+ttl\r\n:3\r\n:1\r\n:2\r\n",
	"$?\r\n;4\r\nhell\r\n;1\r\no\r\n;0\r\n", "$?\r\n;0\r\n", "*?\r\n:1\r\n*?\r\n.\r\n*1\r\n+x\r\n.\r\n", "%?\r\n+a\r\n:1\r\n.\r\n",
	strings.Repeat("*1\r\n", maxDepth-1) + ":1\r\n",
	"+" + strings.Repeat("x", 3*bufSize) + "\r\n",
	"$100000\r\n" + strings.Repeat("x", 100000) + "\r\n",
}

var brokenReplies = []string{
	"\r\n", "x", "hello\r\n", "$1\n", "$5\r\nhello!\r\n", "$-2\r\n", "~-1\r\n", "$+1\r\n", "$1x\r\n", "*99999999999999\r\n", "$\r\n", ";1\r\n", ".\r\n",
	"*1\r\n.\r\n", ".x\r\n", "*?\r\n:1\r\n.1\r\n", "$?\r\n+x\r\n", "$?\r\n;?\r\n", ">?\r\n", "|?\r\n", "*" + strings.Repeat("0", maxLine) + "1\r\n",
	strings.Repeat("*1\r\n", maxDepth) + ":1\r\n",
}

// reference is how long the reply is with which b begins, attributes included.
func reference(b []byte) (n int, err error) {
	for {
		m, err := referenceValue(b[n:], 0)
		if err != nil {
			return 0, err
		}
		if n += m; b[n-m] != '|' {
			return n, nil
		}
	}
}

// referenceValue is a parser that has all of a value, and so can be simple.
func referenceValue(b []byte, depth int) (n int, err error) {
	end := bytes.IndexByte(b, '\n')
	if len(b) > 0 && strings.IndexByte("+-:_#,($!=*~>%|.", b[0]) < 0 {
		return 0, errMalformed
	}
	if len(b) == 0 || end < 0 && len(b) < maxLine {
		return 0, io.ErrUnexpectedEOF
	}
	if strings.IndexByte("+-:_#,(", b[0]) >= 0 {
		if end < 0 {
			return 0, io.ErrUnexpectedEOF
		}
		return end + 1, nil
	}
	if b[0] == '.' || end < 2 || end >= maxLine || b[end-1] != '\r' {
		return 0, errMalformed
	}
	kind, length := b[0], string(b[1:end-1])
	n = end + 1
	values := func(count int64) (int, error) { // -1: until the end
		if depth+1 >= maxDepth {
			return 0, errMalformed
		}
		for i := int64(0); i != count; {
			if count < 0 && n < len(b) && b[n] == '.' {
				if bytes.HasPrefix(b[n:], []byte(".\r\n")) {
					return n + 3, nil
				}
				if len(b[n:]) < 3 && bytes.HasPrefix([]byte(".\r\n"), b[n:]) {
					return 0, io.ErrUnexpectedEOF
				}
				return 0, errMalformed
			}
			if n < len(b) && b[n] == '.' {
				return 0, errMalformed
			}
			m, err := referenceValue(b[n:], depth+1)
			if err != nil {
				return 0, err
			}
			if b[n] != '|' {
				i++
			}
			n += m
		}
		return n, nil
	}
	body := func(size int64) error {
		if int64(len(b)-n) < size+2 {
			return io.ErrUnexpectedEOF
		}
		n += int(size) + 2
		if string(b[n-2:n]) != "\r\n" {
			return errMalformed
		}
		return nil
	}
	count, bad := strconv.ParseUint(length, 10, 63)
	size := int64(count)
	switch {
	case length == "-1" && (kind == '$' || kind == '*'):
		return n, nil
	case length == "?" && (kind == '*' || kind == '~' || kind == '%'):
		return values(-1)
	case length == "?" && kind == '$':
		for {
			i := bytes.IndexByte(b[n:], '\n')
			if n == len(b) || i < 0 && len(b)-n < maxLine {
				return 0, io.ErrUnexpectedEOF
			}
			if b[n] != ';' || i < 2 || i >= maxLine || b[n+i-1] != '\r' {
				return 0, errMalformed
			}
			count, bad := strconv.ParseUint(string(b[n+1:n+i-1]), 10, 63)
			if bad != nil || count > maxLength {
				return 0, errMalformed
			}
			n += i + 1
			if count == 0 {
				return n, nil
			}
			if err := body(int64(count)); err != nil {
				return 0, err
			}
		}
	case bad != nil || size > maxLength:
		return 0, errMalformed
	case strings.IndexByte("$!=", kind) >= 0:
		return n, body(size)
	case kind == '%' || kind == '|':
		return values(2 * size)
	}
	return values(size)
}

// copied is what copyReply makes of the beginning of what r gives.
func copied(r io.Reader, size int) (string, error) {
	var dst bytes.Buffer
	err := copyReply(&dst, bufio.NewReaderSize(r, size))
	return dst.String(), err
}

func TestCopyReply(t *testing.T) {
	for _, s := range wholeReplies {
		for _, r := range []io.Reader{
			strings.NewReader(s), strings.NewReader(s + ":1\r\n"), iotest.OneByteReader(strings.NewReader(s)),
		} {
			if got, err := copied(r, 64); got != s || err != nil {
				t.Errorf("%.60q: copied %.60q, %v", s, got, err)
			}
		}
		for _, cut := range []int{len(s) - 1, len(s) / 2, 1} {
			if _, err := copied(strings.NewReader(s[:cut]), 64); !errors.Is(err, io.EOF) {
				t.Errorf("%.60q: %v, want the end of the stream", s[:cut], err)
			}
		}
	}
	for _, s := range brokenReplies {
		if _, err := copied(strings.NewReader(s+strings.Repeat(":1\r\n", 20)), 64); !errors.Is(err, errMalformed) {
			t.Errorf("%.60q: %v, want it malformed", s, err)
		}
	}
}

func FuzzCopyReply(f *testing.F) {
	for _, s := range append(wholeReplies, brokenReplies...) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, want := reference(b)
		for _, r := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b))} {
			got, err := copied(r, 64)
			if !strings.HasPrefix(string(b), got) {
				t.Fatalf("%q: made %q of it", b, got)
			}
			switch {
			case want == nil && (err != nil || len(got) != n):
				t.Fatalf("%q: %d bytes, %v; want %d", b, len(got), err, n)
			case want != nil && err == nil:
				t.Fatalf("%q: taken for the whole of %q; want %v", b, got, want)
			case errors.Is(want, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
				t.Fatalf("%q: %v; want more of it", b, err)
				// What is malformed may as well end before that shows.
			}
		}
	})
}

// TestCopyIsBounded copies 64 MiB and looks at what it takes.
func TestCopyIsBounded(t *testing.T) {
	const size = 64 << 20
	measure := func(what string, work func() error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := work(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s of 64 MiB took %d bytes of memory", what, got)
		}
	}
	body := func(head string) *bufio.Reader {
		return bufio.NewReaderSize(io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size), strings.NewReader("\r\n")), bufSize)
	}
	measure("a reply", func() error { return copyReply(io.Discard, body(fmt.Sprintf("$%d\r\n", size))) })
	measure("a line", func() error { return copyReply(io.Discard, body("+")) })
	measure("a request", func() error {
		src := body(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", size))
		req, err := readRequest(src, nil)
		if err != nil {
			return err
		}
		return req.copyTo(io.Discard, src)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
