package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var testLimits = Limits{Head: 4096, Target: 200, Field: 300, Fields: 20}

// pieces is a connection that delivers bytes in pieces of these sizes, again and again.
type pieces struct {
	net.Conn
	b     []byte
	sizes []int
	reads int
}

func (p *pieces) SetReadDeadline(time.Time) error { return nil }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	size := len(p.b)
	if len(p.sizes) > 0 {
		size = p.sizes[p.reads%len(p.sizes)]
	}
	p.reads++
	n := copy(b[:min(len(b), max(size, 1))], p.b)
	p.b = p.b[n:]
	return n, nil
}

// read returns what net/http would read of text, with a buffer of room bytes.
func read(text string, room int, sizes ...int) (got string, c *checkedConn, err error) {
	c = &checkedConn{Conn: &pieces{b: []byte(text), sizes: sizes}, of: &Requests{Limits: testLimits, Bounds: &Connections{}}, admitted: true}
	p := make([]byte, room)
	for {
		n, err := c.Read(p)
		got += string(p[:n])
		if err != nil {
			return got, c, err
		}
	}
}

const post = "POST /p HTTP/1.1\r\nHost: a\r\n"

// Every head that is refused here is one that RFC 9112 or 9110 calls malformed, or lets a recipient refuse.
func TestHeads(t *testing.T) {
	get := func(fields string) string { return "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" }
	for _, tc := range []struct {
		sentence, text string
		status         int // 0: it passes
	}{
		{"a plain request", get(""), 0},
		{"a request of HTTP/1.0 needs no Host", "GET / HTTP/1.0\r\n\r\n", 0},
		{"two empty lines before a request", "\r\n\r\n" + get(""), 0},
		{"three are too many", "\r\n\r\n\r\n" + get(""), 400},
		{"a bare LF before a request", "\n" + get(""), 400},
		{"an unknown method", "M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", 0},
		{"a method in lower case", "get / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"the method that stands for refused requests", "- / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a long method", strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
		{"no version", "GET /\r\n\r\n", 400},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
		{"a tab between method and target", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
		{"a version of two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
		{"a later version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
		{"HTTP/2 in the text of HTTP/1", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
		{"the preface of HTTP/2 where there is none", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"a control character in the target", "GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"DEL in the target", "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a byte over 0x7E in the target", "GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a fragment", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no leading slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a malformed escape in the path", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"an asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"an asterisk for OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0},
		{"an absolute target", "GET http://a:80/b?c HTTP/1.1\r\nHost: a\r\n\r\n", 0},
		{"an absolute target without a path", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 0},
		{"user information in it", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no host in it", "GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a port that is no number in it", "GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"another scheme", "GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"a long target", "GET /" + strings.Repeat("a", 200) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		{"a target without end", "GET /" + strings.Repeat("a", 500), 414},
		{"a bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
		{"a bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
		{"a bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
		{"a bare CR in a value", get("A: b\rc\r\n"), 400},
		{"CR CR LF", get("A: b\r\r\n"), 400},
		{"a folded line", get("A: b\r\n c\r\n"), 400},
		{"folded with a tab", get("A: b\r\n\tc\r\n"), 400},
		{"a folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		{"a space before the colon", get("A : b\r\n"), 400},
		{"no colon", get("A\r\n"), 400},
		{"no name", get(": b\r\n"), 400},
		{"a name with a space", get("A b: c\r\n"), 400},
		{"a name with a slash", get("A/b: c\r\n"), 400},
		{"a name that is not ASCII", get("\xc3\xa9: c\r\n"), 400},
		{"NUL in a value", get("A: b\x00c\r\n"), 400},
		{"DEL in a value", get("A: b\x7fc\r\n"), 400},
		{"a control character far into a value", get("A: 01234567890123456789\x0b\r\n"), 400},
		{"a tab in a value", get("A: 0123456\t89\r\n"), 0},
		{"UTF-8 in a value", get("A: caf\xc3\xa9\r\n"), 0},
		{"an empty value", get("A:\r\n"), 0},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
		{"two Hosts", get("Host: a\r\n"), 400},
		{"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nhOST: b\r\n\r\n", 400},
		{"a list in Host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
		{"a path in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		{"user information in Host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
		{"no Host beside an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", 400},
		{"a body with a length", post + "Content-Length: 3\r\n\r\nabc", 0},
		{"a length with a sign", post + "Content-Length: +3\r\n\r\nabc", 400},
		{"a negative length", post + "Content-Length: -3\r\n\r\nabc", 400},
		{"an empty length", post + "Content-Length:\r\n\r\n", 400},
		{"a length in hex", post + "Content-Length: 0x3\r\n\r\nabc", 400},
		{"a length with a space in it", post + "Content-Length: 1 2\r\n\r\nabc", 400},
		{"a length that overflows", post + "Content-Length: 18446744073709551619\r\n\r\nabc", 400},
		{"two lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
		{"two equal lengths", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
		{"a list of lengths", post + "Content-Length: 3, 3\r\n\r\nabc", 400},
		{"a chunked body", post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 0},
		{"chunked in capitals", post + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", 0},
		{"chunked beside a length", post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
		{"a length beside chunked", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"a coding before chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		{"a coding after chunked", post + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400},
		{"another coding", post + "Transfer-Encoding: gzip\r\n\r\nabc", 400},
		{"identity", post + "Transfer-Encoding: identity\r\n\r\nabc", 400},
		{"chunked twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
		{"chunked in two lines", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"a coding in a second line", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400},
		{"an empty coding", post + "Transfer-Encoding:\r\n\r\nabc", 400},
		{"chunked with a parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400},
		{"a vertical tab before chunked", post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
		{"chunked in quotes", post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400},
		{"trailers that frame", post + "Transfer-Encoding: chunked\r\nTrailer: X, Content-Length\r\n\r\n0\r\n\r\n", 400},
		{"an unknown expectation", post + "Expect: more\r\n\r\n", 417},
		{"as many fields as may be", get(strings.Repeat("A: b\r\n", 19)), 0},
		{"one more", get(strings.Repeat("A: b\r\n", 20)), 431},
		{"a long field", get("A: " + strings.Repeat("b", 300) + "\r\n"), 431},
		{"a field without end", "GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("b", 400), 431},
		{"a long head", get(strings.Repeat("A: "+strings.Repeat("b", 290)+"\r\n", 15)), 431},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			for _, sizes := range [][]int{nil, {1}, {3, 7, 2}} {
				got, c, err := read(tc.text, 4096, sizes...)
				if !errors.Is(err, io.EOF) {
					t.Errorf("in pieces of %v: %v", sizes, err)
				}
				switch {
				case tc.status == 0:
					if want := strings.TrimLeft(tc.text, "\r\n"); got != want || c.refusal != nil {
						t.Errorf("in pieces of %v, %q was read: %v", sizes, got, c.refusal)
					}
				case got != refusedHead || c.refusal == nil || c.refusal.Status != tc.status:
					t.Errorf("in pieces of %v, %q was read: %v", sizes, got, c.refusal)
				}
			}
		})
	}
}

func TestChunks(t *testing.T) {
	for _, tc := range []struct {
		sentence, body string
		ok             bool
	}{
		{"no chunk", "0\r\n\r\n", true},
		{"two chunks", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", true},
		{"hex digits in both cases", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", true},
		{"leading zeros", "003\r\nabc\r\n000\r\n\r\n", true},
		{"an extension", "3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n", true},
		{"blanks before an extension", "3 \t;a\r\nabc\r\n0\r\n\r\n", true},
		{"trailers", "0\r\nA: b\r\nC:\td\r\n\r\n", true},
		{"data that looks like chunks", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", true},
		{"no digit", "\r\nabc\r\n0\r\n\r\n", false},
		{"an extension without a size", ";a\r\nabc\r\n0\r\n\r\n", false},
		{"a sign", "+3\r\nabc\r\n0\r\n\r\n", false},
		{"a minus sign", "-3\r\nabc\r\n0\r\n\r\n", false},
		{"0x", "0x3\r\nabc\r\n0\r\n\r\n", false},
		{"no hex digit", "g\r\nabc\r\n0\r\n\r\n", false},
		{"a space before the size", " 3\r\nabc\r\n0\r\n\r\n", false},
		{"a space after the size", "3 \r\nabc\r\n0\r\n\r\n", false},
		{"a size of two numbers", "3 3\r\nabc\r\n0\r\n\r\n", false},
		{"a size that overflows", "10000000000000003\r\nabc\r\n0\r\n\r\n", false},
		{"a bare LF after the size", "3\nabc\r\n0\r\n\r\n", false},
		{"a bare CR after the size", "3\rabc\r\n0\r\n\r\n", false},
		{"a bare LF in an extension", "3;a\nabc\r\n0\r\n\r\n", false},
		{"a bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n", false},
		{"NUL in an extension", "3;a\x00\r\nabc\r\n0\r\n\r\n", false},
		{"a long extension", "3;" + strings.Repeat("a", 300) + "\r\nabc\r\n0\r\n\r\n", false},
		{"data longer than its size", "3\r\nabcd\r\n0\r\n\r\n", false},
		{"data shorter than its size", "4\r\nabc\r\n0\r\n\r\n", false},
		{"a bare LF after data", "3\r\nabc\n0\r\n\r\n", false},
		{"no line end after data", "3\r\nabc0\r\n\r\n", false},
		{"a bare LF at the end", "0\r\n\n", false},
		{"a bare LF after a trailer", "0\r\nA: b\n\r\n", false},
		{"a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", false},
		{"a trailer without a colon", "0\r\nA\r\n\r\n", false},
		{"a trailer without a name", "0\r\n: a\r\n\r\n", false},
		{"a space before a trailer's colon", "0\r\nA : b\r\n\r\n", false},
		{"NUL in a trailer", "0\r\nA: \x00\r\n\r\n", false},
		{"trailers without end", "0\r\n" + strings.Repeat("A: b\r\n", 1000) + "\r\n", false},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			head := post + "Transfer-Encoding: chunked\r\n\r\n"
			for _, sizes := range [][]int{nil, {1}, {3, 7, 2}} {
				got, _, err := read(head+tc.body, 4096, sizes...)
				if tc.ok && (got != head+tc.body || !errors.Is(err, io.EOF)) {
					t.Errorf("in pieces of %v, %q was read: %v", sizes, got, err)
				}
				if !tc.ok && (!errors.Is(err, errMalformed) || len(got) >= len(head+tc.body) || !strings.HasPrefix(head+tc.body, got)) {
					t.Errorf("in pieces of %v, %q was read: %v", sizes, got, err)
				}
			}
		})
	}
}

// A request that is refused comes after those before it.
func TestARefusedRequestWaitsItsTurn(t *testing.T) {
	good := post + "Content-Length: 3\r\n\r\nabc"
	for _, room := range []int{2, 7, 4096} {
		got, c, err := read(good+good+"GET /x HTTP/1.1\nHost: a\r\n\r\n"+good, room)
		if got != good+good+refusedHead || c.refused != "GET /x HTTP/1.1" || !errors.Is(err, io.EOF) {
			t.Errorf("with room for %d, %q was read: %q, %v", room, got, c.refused, err)
		}
	}
}

// Nothing of the next request is read into the buffers of net/http while a request is served.
func TestTheNextRequestIsNotReadAhead(t *testing.T) {
	get := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	c := &checkedConn{Conn: &pieces{b: []byte(get + get)}, of: &Requests{Limits: testLimits, Bounds: &Connections{}}, admitted: true}
	p := make([]byte, 4096)
	if n, err := c.Read(p); string(p[:n]) != get || err != nil {
		t.Fatalf("%q was read: %v", p[:n], err)
	}
	c.Conn = closing{c.Conn}
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(p[:1])
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("a read of one byte has ended: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := c.Read(p[:1]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if _, err := c.Read(p[:1]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with a deadline: %v", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	if n, err := c.Read(p); string(p[:n]) != get || err != nil {
		t.Errorf("%q was read: %v", p[:n], err)
	}
	c.buf = []byte("G")
	go func() {
		_, err := c.Read(p[:1])
		ended <- err
	}()
	_ = c.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed connection: %v", err)
	}
}

// closing is a connection that takes deadlines and can be closed.
type closing struct{ net.Conn }

func (closing) SetReadDeadline(time.Time) error { return nil }
func (closing) Close() error                    { return nil }

// An idle connection keeps no memory, and a request that comes in one read needs none.
func TestReadingDoesNotAllocate(t *testing.T) {
	get := []byte("GET /api/v5/restaurants?page=1 HTTP/1.1\r\nHost: api.example.org\r\nAccept: */*\r\nUser-Agent: curl/8.0\r\n\r\n")
	in := &pieces{}
	c := &checkedConn{Conn: in, of: &Requests{Limits: testLimits, Bounds: &Connections{}}, admitted: true}
	p := make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() {
		in.b = get
		if n, err := c.Read(p); n != len(get) || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 || c.buf != nil {
		t.Errorf("%v allocations, and a buffer of %d bytes", n, cap(c.buf))
	}
}

func BenchmarkHead(b *testing.B) {
	get := []byte("GET /api/v5/restaurants?page=1 HTTP/1.1\r\nHost: api.example.org\r\nAccept: application/json, text/plain, */*\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,he;q=0.8\r\nOrigin: https://jewgo.app\r\nReferer: https://jewgo.app/\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
		"Cookie: gw=v1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\nConnection: keep-alive\r\n\r\n")
	limits := Limits{Head: 32 << 10, Target: 4000, Field: 8000, Fields: 80}
	b.SetBytes(int64(len(get)))
	for b.Loop() {
		h := head{limits: &limits}
		if end, p := h.scan(get); end != len(get) || p != nil {
			b.Fatal(end, p)
		}
	}
}

// What passes, net/http accepts, and reads alike: the same requests, with the same fields and bodies.
func FuzzRequests(f *testing.F) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", post + "Content-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n" + post + "\r\n",
		"GET http://a:80/?b HTTP/1.1\r\nHost: a\r\nA:\t b \r\nTrailer: X\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\n0\r\n\rGET / HTTP/1.1\r\n\r\n",
		"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", "\r\nGET /a HTTP/1.1\nHost: a\r\n\r\n",
	} {
		f.Add(text, uint8(3), uint8(200))
		f.Add(text, uint8(255), uint8(255))
	}
	f.Fuzz(func(t *testing.T, text string, size, room uint8) {
		got, c, err := read(text, int(room)+2, int(size)+1)
		got, refused := strings.CutSuffix(got, refusedHead)
		if refused != (c.refusal != nil) && !strings.HasSuffix(text, refusedHead) {
			t.Fatalf("%q was read, and the refusal is %v", got, c.refusal)
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, errMalformed) {
			t.Fatal(err)
		}
		whole := c.requests
		if c.inBody {
			whole-- // its body is cut off
		}
		b := bufio.NewReader(strings.NewReader(got))
		for i := range whole {
			head, _, _ := strings.Cut(rest(t, b), "\r\n\r\n")
			req, err := http.ReadRequest(b)
			if err != nil {
				t.Fatalf("request %d of %q: %v", i, got, err)
			}
			sameHead(t, head, req)
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				t.Fatalf("body %d of %q: %v", i, got, err)
			}
		}
		left := rest(t, b)
		if c.inBody {
			head, _, _ := strings.Cut(left, "\r\n\r\n")
			req, err := http.ReadRequest(b)
			if err != nil {
				t.Fatalf("the last request of %q: %v", got, err)
			}
			sameHead(t, head, req)
			if _, err := io.Copy(io.Discard, req.Body); err == nil {
				t.Fatalf("the last body of %q ends", got)
			}
		} else if left != "" {
			t.Fatalf("net/http has %q left of %q", left, got)
		}
	})
}

// rest is what b has left; it stays.
func rest(t *testing.T, b *bufio.Reader) string {
	t.Helper()
	all, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	b.Reset(bytes.NewReader(all))
	return string(all)
}

// sameHead compares a head with what net/http made of it.
func sameHead(t *testing.T, head string, req *http.Request) {
	t.Helper()
	lines := strings.Split(head, "\r\n")
	if line := req.Method + " " + req.RequestURI + " " + req.Proto; line != lines[0] {
		t.Fatalf("%q became %q", lines[0], line)
	}
	var want, got []string
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch name = http.CanonicalHeaderKey(name); name {
		case "Host", "Transfer-Encoding", "Trailer", "Pragma", "Cache-Control": // net/http keeps them elsewhere, or adds one for the other
		default:
			want = append(want, name+":"+strings.Trim(value, " \t"))
		}
	}
	for name, values := range req.Header {
		for _, v := range values {
			if !slices.Contains([]string{"Host", "Trailer", "Pragma", "Cache-Control"}, name) {
				got = append(got, name+":"+v)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Fatalf("%q became %q", want, got)
	}
}
