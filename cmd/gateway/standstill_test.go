package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The machine stands still for longer than each timeout, as one that is moved to another host does. Requests that
// came meanwhile are answered: on a connection that was idle, on one that was accepted, and on a new one.
func TestAMachineThatStandsStill(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	g, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }),
		strings.Replace(smallPolicy, "read_header: 30s", fmt.Sprintf("read_header: %v, idle: %[1]v", timeout), 1))
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	send := func(conn net.Conn) {
		t.Helper()
		if _, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(conn net.Conn) (string, error) {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(res.Body)
		return string(body), err
	}
	conns := map[string]net.Conn{"idle": dial(), "accepted": dial()}
	send(conns["idle"])
	if got, err := receive(conns["idle"]); got != "body" {
		t.Fatal(got, err)
	}
	g.signal(syscall.SIGSTOP)
	conns["new"] = dial()
	for _, conn := range conns {
		send(conn)
	}
	time.Sleep(timeout * 3 / 2)
	g.signal(syscall.SIGCONT)
	for name, conn := range conns {
		if got, err := receive(conn); got != "body" {
			t.Errorf("%s connection: %q, %v", name, got, err)
		}
	}
}
