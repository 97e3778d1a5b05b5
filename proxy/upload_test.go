package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// refuser answers an upload with 413 right after its header, and closes at once with most of the body
// unread: the client's side gets a reset.
func refuser(t *testing.T) string {
	return rawBackend(t, func(conn net.Conn, _ *bufio.Reader) {
		fmt.Fprint(conn, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbig\n")
	})
}

// uploadTo sends 4 MiB while it reads, and reports whether a 413 came.
func uploadTo(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() {
		const size = 4 << 20
		_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
		chunk := make([]byte, 64<<10)
		for range size / len(chunk) {
			if _, err := conn.Write(chunk); err != nil {
				return
			}
		}
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode == http.StatusRequestEntityTooLarge && err == nil && string(body) == "big\n"
}

// A refusal before the end of the upload reaches the client as often as without a gateway.
func TestEarlyRefusalsArePassedOn(t *testing.T) {
	t.Parallel()
	const clients, uploads = 40, 3
	count := func(address string) int64 {
		var refused atomic.Int64
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range uploads {
					if uploadTo(address) {
						refused.Add(1)
					}
				}
			})
		}
		all.Wait()
		return refused.Load()
	}
	target := refuser(t)
	straight := count(strings.TrimPrefix(target, "http://"))
	e := newEdge(t, setup{app: one(target), progress: patience})
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for range clients * uploads {
			<-e.facts
		}
	})
	through := count(e.Listener.Addr().String())
	handlers.Wait()
	t.Logf("of %d uploads %d were told straight, %d through the gateway", clients*uploads, straight, through)
	if through < straight {
		t.Errorf("%d of %d clients were told, straight to the upstream %d", through, clients*uploads, straight)
	}
}

// An upstream that closes while the client is silent has failed. The client gets an error at once,
// whether or not part of the request had been forwarded.
func TestUpstreamThatClosesWhileTheClientIsSilent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ head, body string }{
		"nothing was sent on":          {"Content-Length: 100000", ""},
		"a part of the body was":       {"Content-Length: 100000", strings.Repeat("x", 20_000)},
		"a body of unknown length was": {"Transfer-Encoding: chunked", "5\nabcde\n"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					time.AfterFunc(300*time.Millisecond, func() { conn.Close() })
					go func() { _, _ = io.Copy(io.Discard, conn) }()
				}
			}()
			e := newEdge(t, setup{app: one("http://" + l.Addr().String()), progress: patience})
			began := time.Now()
			_, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\n"+tt.head+"\n\n"+tt.body)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if took := time.Since(began); res.StatusCode != http.StatusBadGateway || took > patience/2 {
				t.Errorf("%s after %v", res.Status, took)
			}
			if f := e.done(t); f.Reason != ReasonBroken {
				t.Errorf("reason %q", f.Reason)
			}
		})
	}
}
