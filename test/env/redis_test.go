package env

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"
)

// ask sends one inline command and returns the last line of its reply.
func ask(addr, command string, timeout time.Duration) (string, error) {
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := c.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err == nil && strings.HasPrefix(line, "$") && !strings.HasPrefix(line, "$-1") {
		line, err = r.ReadString('\n')
	}
	return strings.TrimSpace(line), err
}

func expect(t *testing.T, s *RedisServer, command, want string) {
	t.Helper()
	got, err := ask(s.Addr, command, 5*time.Second)
	if err != nil || got != want {
		t.Fatalf("%s: %q, %v; want %q", command, got, err, want)
	}
}

func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	first := s.Pid()
	expect(t, s, "SET k 1", "+OK")

	s.Restart(false)
	expect(t, s, "GET k", "1") // the data is kept
	if s.Pid() == first {
		t.Error("the process is the same")
	}

	expect(t, s, "SAVE", "+OK")
	expect(t, s, "SET k 2", "+OK")
	s.Kill()
	if _, err := ask(s.Addr, "PING", time.Second); err == nil {
		t.Error("a killed server answers")
	}
	s.Restart(false)
	expect(t, s, "GET k", "1") // the data of the last SAVE

	s.Restart(true)
	expect(t, s, "GET k", "$-1") // empty
}

func TestRedisFreezes(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	s.Stop()
	if got, err := ask(s.Addr, "PING", 200*time.Millisecond); err == nil {
		t.Errorf("a frozen server answers %q", got)
	}
	s.Cont()
	expect(t, s, "PING", "+PONG")
	s.Stop()
	s.Restart(true) // a frozen one can be replaced as well
	expect(t, s, "PING", "+PONG")
}

func TestRedisArguments(t *testing.T) {
	t.Parallel()
	s := Redis(t, "--maxmemory", "5mb", "--requirepass", "x")
	expect(t, s, "PING", "-NOAUTH Authentication required.")
}

func TestRedisEndsWithItsTest(t *testing.T) {
	var addr string
	t.Run("inner", func(t *testing.T) { addr = Redis(t).Addr })
	if _, err := ask(addr, "PING", time.Second); err == nil {
		t.Error("the server outlived its test")
	}
}
