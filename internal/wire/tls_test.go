package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// secured serves "ok" over TLS, and tells what trusts it.
func secured(t *testing.T) (addr string, bounds *Connections, trust *tls.Config) {
	t.Helper()
	ca := env.NewCA(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bounds = &Connections{Most: 1000}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}
	Adapt(s, Resets{Now: time.Now})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(&Requests{
			Listener: Listener{Listener: l}, Limits: testLimits, Bounds: bounds, Timeout: time.Second,
			TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "a.test").Pair(t)}},
		})
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return l.Addr().String(), bounds, &tls.Config{ServerName: "a.test", RootCAs: ca.Pool, MinVersion: tls.VersionTLS13}
}

// To close connections whose clients take nothing takes no time: who closes one has others to see to.
func TestClosingWaitsForNobody(t *testing.T) {
	t.Parallel()
	addr, bounds, trust := secured(t)
	for range 3 {
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		if !answers(tls.Client(raw, trust), 5*time.Second) {
			t.Fatal("no answer")
		}
	}
	env.Eventually(t, env.Patience, func() error {
		bounds.mu.Lock()
		defer bounds.mu.Unlock()
		for c := range bounds.open {
			if c.idleSince.Load() == 0 {
				return errors.New("one is not idle")
			}
		}
		return nil
	})
	bounds.mu.Lock()
	for c := range bounds.open { // fill what the kernel holds for its client
		raw := c.secure.NetConn().(*conn).Conn
		for _, size := range []int{64 << 10, 1 << 10, 1} {
			for err := error(nil); err == nil; {
				_ = raw.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // if it fails, so does the write
				_, err = raw.Write(make([]byte, size))
			}
		}
		_ = raw.SetWriteDeadline(time.Time{}) // as above
	}
	bounds.mu.Unlock()
	began := time.Now()
	for range 3 {
		bounds.closeIdle(began.Add(2 * spare)) // as await does where there is no room
	}
	if open, _ := bounds.Open(); open > 0 || time.Since(began) > lastRead {
		t.Errorf("%d are open after %v", open, time.Since(began))
	}
}

// A head that comes slowly has the same time on a connection that has had others.
func TestEachHeadHasItsTime(t *testing.T) {
	t.Parallel()
	addr, _, trust := secured(t)
	c, err := tls.Dial("tcp", addr, trust)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !answers(c, 5*time.Second) {
		t.Fatal("no answer")
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHo"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(env.Patience)) // if it fails, so does the read
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the second head has more than its second: %v", err)
	}
}
