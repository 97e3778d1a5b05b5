package env

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// commandTimeout bounds one command. MIGRATE may take a while on a busy machine.
const commandTimeout = 10 * time.Second

// command sends one command on a new connection. An array is returned as its elements, one per line;
// an error reply is returned as text too.
func (s *RedisServer) command(args ...string) (string, error) {
	c, err := s.dial(s.Addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }() // everything was written
	if err := c.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return "", err
	}
	return readReply(bufio.NewReader(c))
}

// Do sends a command and returns the reply; an array as its elements, one per line. The test fails if
// the reply does not contain want.
func (s *RedisServer) Do(want string, args ...string) string {
	s.t.Helper()
	reply, err := s.command(args...)
	if err != nil || !strings.Contains(reply, want) {
		s.t.Fatalf("%s to %s: %q, %v\n%s", strings.Join(args, " "), s.Addr, reply, err, output(s.log))
	}
	return reply
}

// await repeats a command until the reply contains want.
func (s *RedisServer) await(want string, args ...string) {
	s.t.Helper()
	Eventually(s.t, startTimeout, func() error {
		if reply, err := s.command(args...); err != nil || !strings.Contains(reply, want) {
			return fmt.Errorf("%s to %s: %q, %w; want %q\n%s", strings.Join(args, " "), s.Addr, reply, err, want, output(s.log))
		}
		return nil
	})
}

// readReply reads one reply of RESP2.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '+', '-', ':':
		return rest, nil
	case '$', '*':
	default:
		return "", errors.New("not a reply: " + strconv.Quote(line))
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 {
		return "", err
	}
	if kind == '$' {
		b := make([]byte, n+2)
		_, err := io.ReadFull(r, b)
		return string(b[:n]), err
	}
	lines := make([]string, n)
	for i := range lines {
		if lines[i], err = readReply(r); err != nil {
			return "", err
		}
	}
	return strings.Join(lines, "\n"), nil
}
