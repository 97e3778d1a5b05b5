package faultproxy

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxBytes bounds a command or a reply, which are buffered as a whole.
const maxBytes = 64 << 20

// command is one command: an array of strings.
type command struct {
	raw  []byte
	name string // in upper case
	key  string // the first key, for scripts and for commands whose key comes first
}

func readCommand(r *bufio.Reader) (c command, err error) {
	var args []string
	if c.raw, err = readValue(r, nil, &args); err != nil {
		return c, err
	}
	if len(args) == 0 {
		return c, fmt.Errorf("not a command: %.40q", c.raw)
	}
	c.name = strings.ToUpper(args[0])
	at := 1
	if strings.HasPrefix(c.name, "EVAL") { // script, number of keys, keys
		at = 3
	}
	if at < len(args) {
		c.key = args[at]
	}
	return c, nil
}

// readValue appends one whole value of RESP2 or RESP3 to raw, and the strings in it to texts unless
// that is nil.
func readValue(r *bufio.Reader, raw []byte, texts *[]string) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return raw, err
	}
	if len(line) < 3 {
		return raw, fmt.Errorf("not RESP: %q", line)
	}
	raw = append(raw, line...)
	kind, n := line[0], 0
	if strings.IndexByte("$!=*~>%|", kind) >= 0 {
		if n, err = strconv.Atoi(strings.TrimSpace(string(line[1:]))); err != nil || n > maxBytes {
			return raw, fmt.Errorf("not RESP: %.40q", line)
		}
	}
	switch kind {
	case '$', '!', '=':
		if n < 0 {
			return raw, nil
		}
		start := len(raw)
		raw = append(raw, make([]byte, n+2)...)
		if _, err := io.ReadFull(r, raw[start:]); err != nil {
			return raw, err
		}
		if texts != nil {
			*texts = append(*texts, string(raw[start:start+n]))
		}
		return raw, nil
	case '%', '|':
		n *= 2
	}
	if kind == '|' { // a value follows the attributes
		n++
	}
	for range n {
		if len(raw) > maxBytes {
			return raw, fmt.Errorf("more than %d bytes", maxBytes)
		}
		if raw, err = readValue(r, raw, texts); err != nil {
			return raw, err
		}
	}
	return raw, nil
}
