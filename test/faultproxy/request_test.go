package faultproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// command is a request as clients send it.
func command(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func TestReadRequest(t *testing.T) {
	long := strings.Repeat("x", maxArg+1)
	for _, tt := range []struct{ sentence, in, name, key string }{
		{"a command without arguments", command("ping"), "PING", ""},
		{"its key comes first", command("Set", "k", "v"), "SET", "k"},
		{"a script's key comes after its number", command("EVALSHA", "abc", "1", "k", "v", "w"), "EVALSHA", "k"},
		{"a script may be long", command("EVAL", long, "1", "k"), "EVAL", ""},
		{"a value too", command("SET", "k", strings.Repeat("x", 3*bufSize)), "SET", "k"},
		{"a key too", command("GET", long), "GET", ""},
		{"binary and empty arguments", command("SET", "\r\n*1", ""), "SET", "\r\n*1"},
		{"a name that is none", command(strings.Repeat("x", 33), "k"), unnamed, "k"},
		{"a name that is none at all", command(long, "k"), unnamed, ""},
		{"an empty name", command(""), "", ""},
		{"words in a line", "set  k v\r\n", "SET", "k"},
		{"a line that ends like a telnet of old", "ping\n", "PING", ""},
		{"more words than are looked at", "mset a b c d e f\r\n", "MSET", "a"},
		{"an empty line", "\r\n", "", ""},
		{"an empty array", "*0\r\n", "", ""},
		{"less than an array", "*-1\r\n", "", ""},
	} {
		for _, r := range []io.Reader{strings.NewReader(tt.in + "*"), iotest.OneByteReader(strings.NewReader(tt.in))} {
			src := bufio.NewReaderSize(r, bufSize)
			req, err := readRequest(src, nil)
			if err != nil {
				t.Errorf("%s: %v", tt.sentence, err)
				continue
			}
			if key := req.key(); req.name != tt.name || key != tt.key {
				t.Errorf("%s: %q of %q, want %q of %q", tt.sentence, req.name, key, tt.name, tt.key)
			}
			var out bytes.Buffer
			if err := req.copyTo(&out, src); err != nil || out.String() != tt.in {
				t.Errorf("%s: copied %.60q, %v", tt.sentence, out.String(), err)
			}
		}
	}
	for _, in := range []string{
		"*x\r\n", "*1\r\n:1\r\n", "*1\r\n$-1\r\n", "*1\r\n$1\r\nab\r\n", "*9999999\r\n", "*1\n", strings.Repeat("x", bufSize+1) + "\r\n",
		"*6\r\n" + strings.Repeat("$1\r\na\r\n", 5) + "+x\r\n",
	} {
		src := bufio.NewReaderSize(strings.NewReader(in), bufSize)
		req, err := readRequest(src, nil)
		if err == nil {
			err = req.copyTo(io.Discard, src)
		}
		if !errors.Is(err, errMalformed) {
			t.Errorf("%.60q: %v, want it malformed", in, err)
		}
	}
}

// referenceRequest is a request's length, or false where it is not whole and
// right.
func referenceRequest(b []byte) (int, bool) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 || b[0] != '*' {
		return end + 1, end >= 0
	}
	header := func(at int, kind byte) (count, next int, ok bool) {
		end := bytes.IndexByte(b[at:], '\n')
		if end < 2 || end >= maxLine || b[at] != kind || b[at+end-1] != '\r' {
			return 0, 0, false
		}
		text := string(b[at+1 : at+end-1])
		if n, err := strconv.Atoi(text); kind == '*' && err == nil && n < 0 {
			return 0, at + end + 1, true
		}
		n, err := strconv.ParseUint(text, 10, 63)
		return int(n), at + end + 1, err == nil && n <= maxLength
	}
	n, at, ok := header(0, '*')
	if !ok || n > maxArgs {
		return 0, false
	}
	for range n {
		var size int
		if size, at, ok = header(at, '$'); !ok || len(b)-at < size+2 || string(b[at+size:at+size+2]) != "\r\n" {
			return 0, false
		}
		at += size + 2
	}
	return at, true
}

func FuzzReadRequest(f *testing.F) {
	for _, s := range []string{command("SET", "k", "v"), "PING\r\n", "*0\r\n", "*-1\r\n", command("EVALSHA", "a", "1", "k", "v", "w"), "*1\r\n$-1\r\n", "*"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, whole := referenceRequest(b)
		if len(b) >= bufSize {
			return // a line may be too long
		}
		for _, r := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b))} {
			src := bufio.NewReaderSize(r, bufSize)
			var out bytes.Buffer
			req, err := readRequest(src, nil)
			if err == nil {
				_ = req.key()
				err = req.copyTo(&out, src)
			}
			if !bytes.HasPrefix(b, out.Bytes()) {
				t.Fatalf("%q: made %q of it", b, out.Bytes())
			}
			if (err == nil) != whole || whole && out.Len() != n {
				t.Fatalf("%q: %d bytes, %v; want %d, %v", b, out.Len(), err, n, whole)
			}
		}
	})
}
