package wire

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// addressed is a connection from an address.
type addressed struct {
	net.Conn
	from string
}

func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

func TestConnectionsOfAClient(t *testing.T) {
	c := &Connections{PerClient: 2, Exempt: func(addr netip.Addr) bool { return addr == netip.MustParseAddr("192.0.2.9") }}
	open := func(from string) (*checkedConn, bool) {
		conn := &checkedConn{Conn: addressed{closing{}, from}, of: &Requests{Bounds: c}}
		c.reserve(false)
		c.accepted(conn)
		return conn, c.admit(conn)
	}
	first, ok := open("192.0.2.1:1")
	if _, second := open("[::ffff:192.0.2.1]:2"); !ok || !second {
		t.Fatal("the first two are refused")
	}
	if third, ok := open("192.0.2.1:3"); ok {
		t.Error("the third passes")
	} else {
		_, _ = third.Close(), third.Close()
	}
	if _, ok := open("192.0.2.2:1"); !ok {
		t.Error("another client is refused")
	}
	_, _ = first.Close(), first.Close()
	if _, ok := open("192.0.2.1:4"); !ok {
		t.Error("it is refused although one has ended")
	}
	if _, ok := open("192.0.2.1:5"); ok {
		t.Error("a connection that was closed twice was counted twice")
	}
	open("[2001:db8::1]:1")
	if _, ok := open("[2001:db8::2]:1"); !ok {
		t.Error("the second of a /64 is refused")
	}
	if _, ok := open("[2001:db8::3]:1"); ok {
		t.Error("the third passes")
	}
	if _, ok := open("[2001:db8:0:1::1]:1"); !ok {
		t.Error("another /64 is refused")
	}
	for range 5 {
		if _, ok := open("192.0.2.9:1"); !ok {
			t.Error("a proxy is refused")
		}
	}
	if _, refused := c.Open(); refused != 3 {
		t.Errorf("%d were refused", refused)
	}
}

// serveBounded serves "ok" within bounds.
func serveBounded(t *testing.T, bounds *Connections) (dial func() net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}
	Adapt(s, Resets{Now: time.Now})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(&Requests{Listener: l, Limits: testLimits, Bounds: bounds, Timeout: time.Minute})
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// answers reports whether a request is answered in time.
func answers(conn net.Conn, within time.Duration) bool {
	_ = conn.SetDeadline(time.Now().Add(within))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false
	}
	b := make([]byte, 1024)
	n, _ := conn.Read(b) // nothing is no answer
	return strings.Contains(string(b[:n]), "200 OK")
}

// Where there is no room for a connection, it waits. Those that are open go on, but for one that is idle.
func TestConnectionsWaitForRoom(t *testing.T) {
	bounds := &Connections{Most: 3}
	dial := serveBounded(t, bounds)
	busy := dial() // has begun a request
	if _, err := io.WriteString(busy, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	other := dial()
	if _, err := io.WriteString(other, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	idle := dial()
	if !answers(idle, 5*time.Second) {
		t.Fatal("the third has no answer")
	}
	fourth := dial()
	if answers(fourth, 100*time.Millisecond) {
		t.Error("the fourth has an answer, although the third was just in use")
	}
	if fourth = dial(); !answers(fourth, 2*spare) {
		t.Error("the fourth has no answer, although the third is idle")
	}
	if answers(idle, time.Second) {
		t.Error("the idle one is open")
	}
	for _, conn := range []net.Conn{busy, other} {
		if _, err := io.WriteString(conn, "Host: a\r\n\r\n"); err != nil || !answers(conn, 5*time.Second) {
			t.Errorf("one that was busy does not go on: %v", err)
		}
	}
	if open, refused := bounds.Open(); open > 3 || refused != 0 {
		t.Errorf("%d are open, %d were refused", open, refused)
	}
}

// While memory is scarce connections come in slowly.
func TestConnectionsWhileMemoryIsScarce(t *testing.T) {
	var tight atomic.Bool
	dial := serveBounded(t, &Connections{Tight: tight.Load})
	first := dial()
	if !answers(first, 5*time.Second) {
		t.Fatal("no answer")
	}
	tight.Store(true)
	began := time.Now()
	for range 6 {
		if !answers(dial(), 5*time.Second) {
			t.Error("a new connection gets no answer")
		}
	}
	if took := time.Since(began); took < 4*look {
		t.Errorf("six came in within %v", took)
	}
	if !answers(first, time.Second) {
		t.Error("one that was just in use is closed")
	}
}
