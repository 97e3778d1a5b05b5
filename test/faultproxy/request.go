package faultproxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

const (
	headArgs = 4       // EVALSHA sha numkeys key: what is looked at of a command
	maxArg   = 4 << 10 // beyond it an argument is not looked at, and none after it
	// maxArgs is how many arguments a server accepts.
	maxArgs = 1 << 20
)

// request is one command, read as far as it takes to know it.
type request struct {
	name string   // in upper case; "" for what is not answered: an empty line, an empty array
	args []string // the first arguments, the name apart, as far as they are short
	head []byte   // what has been read
	body int64    // bytes left of the argument that head ends in, or -1
	more int64    // arguments after it
}

// unnamed stands for a name too long to be one.
const unnamed = "?"

// readRequest reads the head of a command, an array of strings or a line, into
// head's space. The rest must be taken by copyTo before the next.
func readRequest(src *bufio.Reader, head []byte) (request, error) {
	req := request{head: head[:0], body: -1}
	first, err := src.Peek(1)
	if err != nil {
		return req, err
	}
	if first[0] != '*' {
		return readInline(src, req)
	}
	line, err := readLine(src)
	if err != nil {
		return req, err
	}
	req.head = append(req.head, line...)
	// A server takes a count below one for nothing.
	if n, err := strconv.Atoi(string(line[1 : len(line)-2])); err == nil && n < 0 {
		return req, nil
	}
	n, err := parseLength(line)
	if err != nil {
		return req, err
	}
	if n > maxArgs {
		return req, malformed("number of arguments", line)
	}
	for i := range min(n, headArgs) {
		line, err := readLine(src)
		if err != nil {
			return req, err
		}
		size, err := argLength(line)
		if err != nil {
			return req, err
		}
		req.head = append(req.head, line...)
		req.more = n - i - 1
		if size > maxArg {
			req.body = size
			break
		}
		start := len(req.head)
		appender := (*appendWriter)(&req.head)
		if err := copyBody(appender, src, size); err != nil {
			return req, err
		}
		req.args = append(req.args, string(req.head[start:start+int(size)]))
	}
	req.takeName(n > 0)
	return req, nil
}

// readInline reads a command that is a line of words.
func readInline(src *bufio.Reader, req request) (request, error) {
	line, err := src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return req, malformed("line", line)
	}
	if err != nil {
		return req, err
	}
	req.head = append(req.head, line...)
	for word := range bytes.FieldsSeq(line) {
		if len(req.args) == headArgs {
			break
		}
		req.args = append(req.args, string(word))
	}
	req.takeName(len(req.args) > 0)
	return req, nil
}

func (req *request) takeName(some bool) {
	switch {
	case !some:
	case len(req.args) == 0 || len(req.args[0]) > 32:
		req.name = unnamed
	default:
		req.name = strings.ToUpper(req.args[0])
	}
	if len(req.args) > 0 {
		req.args = req.args[1:]
	}
}

// key is the first key that the command names, or what stands in its place.
func (req *request) key() string {
	i := 0
	if classOf(req.name)&(Script|ByHash) != 0 {
		i = 2
	}
	if i < len(req.args) {
		return req.args[i]
	}
	return ""
}

// copyTo writes the command to dst, with the rest of it from src.
func (req *request) copyTo(dst io.Writer, src *bufio.Reader) error {
	if _, err := dst.Write(req.head); err != nil {
		return err
	}
	if req.body >= 0 {
		if err := copyBody(dst, src, req.body); err != nil {
			return err
		}
	}
	for range req.more {
		line, err := readLine(src)
		if err != nil {
			return err
		}
		size, err := argLength(line)
		if err != nil {
			return err
		}
		if _, err := dst.Write(line); err != nil {
			return err
		}
		if err := copyBody(dst, src, size); err != nil {
			return err
		}
	}
	return nil
}

func argLength(line []byte) (int64, error) {
	if line[0] != '$' {
		return 0, malformed("argument", line)
	}
	return parseLength(line)
}

// appendWriter appends what is written.
type appendWriter []byte

func (w *appendWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}
