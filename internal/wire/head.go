package wire

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"

	"github.com/jewgo/gateway/internal/problem"
)

// Limits bound a request's head.
type Limits struct {
	Head   int // bytes of the whole head, and of trailers
	Target int // bytes of the request target
	Field  int // bytes of one field line
	Fields int // field lines
}

// chunked is the length of a body whose head does not tell it.
const chunked = -1

// maxMethod is the length of a method in bytes.
const maxMethod = 32

// head judges a request's head line by line, as RFC 9112 has it and without what that lets a recipient
// tolerate: two recipients may tolerate different things. The zero value has seen no line.
type head struct {
	limits *Limits
	read   int // bytes judged so far
	fields int // lines after the request line
	begun  bool
	old    bool // HTTP/1.0
	hosted bool // Host was seen
	sized  bool // Content-Length was seen
	coded  bool // Transfer-Encoding was seen
	length int64
}

func bad(status int, detail string) *problem.Problem {
	return &problem.Problem{Status: status, Detail: detail}
}

var (
	errLineEnd       = bad(http.StatusBadRequest, "a line does not end with CR and LF")
	errEmptyLine     = bad(http.StatusBadRequest, "an empty line before the request")
	errRequestLine   = bad(http.StatusBadRequest, "the request line is malformed")
	errMethod        = bad(http.StatusBadRequest, "the method is malformed")
	errConnect       = bad(http.StatusNotImplemented, "the method is not served")
	errTarget        = bad(http.StatusBadRequest, "the target is malformed")
	errTargetTooLong = bad(http.StatusRequestURITooLong, "the target is too long")
	errVersion       = bad(http.StatusHTTPVersionNotSupported, "only HTTP/1.1 and HTTP/1.0 are served here")
	errFolded        = bad(http.StatusBadRequest, "a header field is continued in a second line")
	errName          = bad(http.StatusBadRequest, "a header field's name is malformed")
	errValue         = bad(http.StatusBadRequest, "a header field holds a control character")
	errField         = bad(http.StatusRequestHeaderFieldsTooLarge, "a header field is too long")
	errFields        = bad(http.StatusRequestHeaderFieldsTooLarge, "too many header fields")
	errHead          = bad(http.StatusRequestHeaderFieldsTooLarge, "the head is too long")
	errHost          = bad(http.StatusBadRequest, "the request needs one Host field that is not empty")
	errLength        = bad(http.StatusBadRequest, "Content-Length is malformed, or given twice")
	errCoding        = bad(http.StatusBadRequest, "Transfer-Encoding does not end with chunked, or is given twice")
	errOtherCoding   = bad(http.StatusNotImplemented, "only chunked is understood in Transfer-Encoding")
	errOldCoding     = bad(http.StatusBadRequest, "Transfer-Encoding in HTTP/1.0")
	errTwoLengths    = bad(http.StatusBadRequest, "Content-Length beside Transfer-Encoding")
	errTrailer       = bad(http.StatusBadRequest, "Trailer names a field that frames the message")
	errExpect        = bad(http.StatusExpectationFailed, "only 100-continue can be expected")
)

// scan goes on where it ended before; b begins with the head's first byte. end is the head's length, or
// 0 if b does not hold all of it.
func (h *head) scan(b []byte) (end int, p *problem.Problem) {
	for {
		rest := b[h.read:]
		n := bytes.IndexByte(rest, '\n') + 1
		if p := h.tooLong(rest, n); p != nil {
			return 0, p
		}
		if n == 0 {
			return 0, nil
		}
		if n < 2 || rest[n-2] != '\r' {
			return 0, errLineEnd
		}
		h.read += n
		line := rest[:n-2]
		switch {
		case !h.begun:
			h.begun = true
			p = h.requestLine(line)
		case len(line) == 0:
			return h.read, h.end()
		default:
			h.fields++
			p = h.field(line)
		}
		if p != nil {
			return 0, p
		}
	}
}

// tooLong checks a line of n bytes, of which only the beginning may be there (n is 0).
func (h *head) tooLong(line []byte, n int) *problem.Problem {
	if n == 0 {
		n = len(line)
	}
	switch {
	case !h.begun:
		if n > maxMethod+len(" ")+h.limits.Target+len(" HTTP/1.1\r\n") {
			return errTargetTooLong
		}
	case n > h.limits.Field+len("\r\n"):
		return errField
	case h.fields == h.limits.Fields && n > len("\r\n"):
		return errFields
	}
	if h.read+n > h.limits.Head {
		return errHead
	}
	return nil
}

// requestLine implements RFC 9112, 3.
func (h *head) requestLine(line []byte) *problem.Problem {
	if len(line) == 0 {
		return errEmptyLine
	}
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, ok := bytes.Cut(rest, []byte(" "))
	switch {
	case !ok || !isVersion(version):
		return errRequestLine
	case !isMethod(method):
		return errMethod
	case version[5] != '1' || version[7] > '1':
		return errVersion
	case string(method) == http.MethodConnect:
		return errConnect
	case len(target) > h.limits.Target:
		return errTargetTooLong
	case !isTarget(target, method):
		return errTarget
	}
	h.old = version[7] == '0'
	return nil
}

func isVersion(b []byte) bool {
	return len(b) == len("HTTP/1.1") && string(b[:5]) == "HTTP/" && b[6] == '.' && isDigit(b[5]) && isDigit(b[7])
}

// isMethod accepts upper-case methods, known or not: all that are registered are upper-case, and an
// unknown one may reach the upstream.
func isMethod(b []byte) bool {
	for i, c := range b {
		if (c < 'A' || c > 'Z') && (c != '-' || i == 0) {
			return false
		}
	}
	return len(b) > 0 && len(b) <= maxMethod
}

// isTarget accepts a path with a query, a URL of http or https, and * for OPTIONS (RFC 9112, 3.2).
func isTarget(b, method []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '#' {
			return false
		}
	}
	switch {
	case len(b) == 0:
		return false
	case string(b) == "*":
		return string(method) == http.MethodOptions
	case b[0] != '/':
		scheme, rest, ok := bytes.Cut(b, []byte("://"))
		if !ok || !equalFold(scheme, "http") && !equalFold(scheme, "https") {
			return false
		}
		n := bytes.IndexAny(rest, "/?")
		if n < 0 {
			n = len(rest)
		}
		if n == 0 || !isAuthority(rest[:n]) {
			return false
		}
		if _, err := url.ParseRequestURI(string(b)); err != nil { // such as a port that is no number; it is seldom used
			return false
		}
		b = rest[n:]
	}
	path, _, _ := bytes.Cut(b, []byte("?"))
	for i, c := range path {
		if c == '%' && (i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2])) {
			return false
		}
	}
	return true
}

// isAuthority accepts what may be a host and a port; the rest of the gateway judges which. It has no
// user information (RFC 9110, 4.2.4).
func isAuthority(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte("-._~:[]", c) < 0 {
			return false
		}
	}
	return true
}

// field implements RFC 9112, 5.
func (h *head) field(line []byte) *problem.Problem {
	if line[0] == ' ' || line[0] == '\t' {
		return errFolded
	}
	n := 0
	for n < len(line) && isToken[line[n]] {
		n++
	}
	if n == 0 || n == len(line) || line[n] != ':' {
		return errName
	}
	name, value := line[:n], line[n+1:]
	if !isValue(value) {
		return errValue
	}
	switch name[0] | 0x20 { // few fields need a closer look
	case 'h':
		if equalFold(name, "host") {
			return h.host(bytes.Trim(value, " \t"))
		}
	case 'c':
		if equalFold(name, "content-length") {
			return h.contentLength(bytes.Trim(value, " \t"))
		}
	case 't':
		switch {
		case equalFold(name, "transfer-encoding"):
			return h.transferEncoding(bytes.Trim(value, " \t"))
		case equalFold(name, "trailer"):
			return trailer(value)
		}
	case 'e':
		if equalFold(name, "expect") && !equalFold(bytes.Trim(value, " \t"), "100-continue") {
			return errExpect
		}
	}
	return nil
}

// host implements RFC 9112, 3.2, and RFC 9110, 4.2.1: no host is empty.
func (h *head) host(value []byte) *problem.Problem {
	if h.hosted || len(value) == 0 || !isAuthority(value) {
		return errHost
	}
	h.hosted = true
	return nil
}

// contentLength takes no list of equal numbers, which RFC 9110, 8.6, would let it take.
func (h *head) contentLength(value []byte) *problem.Problem {
	if h.sized || len(value) == 0 || len(value) > 18 { // 18 digits fit into an int64
		return errLength
	}
	h.sized = true
	for _, c := range value {
		if !isDigit(c) {
			return errLength
		}
		h.length = 10*h.length + int64(c-'0')
	}
	return nil
}

// transferEncoding implements RFC 9112, 6.1 and 6.3.
func (h *head) transferEncoding(value []byte) *problem.Problem {
	if h.coded {
		return errCoding
	}
	h.coded = true
	if equalFold(value, "chunked") {
		return nil
	}
	codings := bytes.Split(value, []byte(","))
	for i, coding := range codings {
		coding = bytes.Trim(coding, " \t")
		if last := i == len(codings)-1; equalFold(coding, "chunked") != last || len(coding) == 0 {
			return errCoding
		}
	}
	return errOtherCoding
}

// trailer implements RFC 9110, 6.5.1: such fields are none that frame the message.
func trailer(value []byte) *problem.Problem {
	for name := range bytes.SplitSeq(value, []byte(",")) {
		name = bytes.Trim(name, " \t")
		if equalFold(name, "content-length") || equalFold(name, "transfer-encoding") || equalFold(name, "trailer") {
			return errTrailer
		}
	}
	return nil
}

// end judges the head as a whole.
func (h *head) end() *problem.Problem {
	switch {
	case !h.hosted && !h.old:
		return errHost
	case h.coded && h.old:
		return errOldCoding
	case h.coded && h.sized:
		return errTwoLengths
	case h.coded:
		h.length = chunked
	}
	return nil
}

// isToken has the characters of names (RFC 9110, 5.6.2).
var isToken = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()

// isValue reports whether b holds no control character but tabs (RFC 9110, 5.5). It looks at eight bytes
// at once, since every request passes here.
func isValue(b []byte) bool {
	if len(b) < 8 {
		return isValueBytes(b)
	}
	const ones = 0x0101010101010101
	for i := 0; ; i += 8 {
		i = min(i, len(b)-8)
		v := binary.LittleEndian.Uint64(b[i:])
		del := v ^ 0x7f*ones
		control := (v-0x20*ones)&^v | (del-ones)&^del // the high bit of a byte: it is below 0x20, or is 0x7f
		if control&(0x80*ones) != 0 && !isValueBytes(b[i:i+8]) {
			return false
		}
		if i == len(b)-8 {
			return true
		}
	}
}

func isValueBytes(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// equalFold compares with a text in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
