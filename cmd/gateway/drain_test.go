package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/jewgo/gateway/test/env"
)

// drainPolicy is smallPolicy with other timeouts.
func drainPolicy(timeouts string) string {
	return strings.Replace(smallPolicy, "drain: 10s", timeouts, 1)
}

// readying gives the statuses of /readyz and of a request by a new connection, and
// whether that one was the connection's last.
func (g *gatewayProcess) readying() (ready, served int, last bool, err error) {
	g.t.Helper()
	ready = g.get(g.admin + "/readyz").StatusCode
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	res, err := client.Get(g.base + "/")
	if err != nil {
		return ready, 0, false, err
	}
	_ = res.Body.Close()
	return ready, res.StatusCode, res.Close, nil
}

// For the time of lame_duck a gateway says that it is not ready and serves all the
// same, new connections too.
func TestLameDuck(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, newSlow(), drainPolicy("lame_duck: 2s, drain: 10s"))
	idle := http.Client{Transport: &http.Transport{}}
	defer idle.CloseIdleConnections()
	res, err := idle.Get(g.base + "/")
	if err != nil || res.Close {
		t.Fatal("before: ", err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	began := time.Now()
	g.signal(syscall.SIGTERM)
	env.Eventually(t, env.Patience, func() error {
		ready, served, last, err := g.readying()
		if ready != http.StatusServiceUnavailable || served != http.StatusOK || !last {
			return fmt.Errorf("readyz %d, served %d, last %v, %v", ready, served, last, err)
		}
		return nil
	})
	time.Sleep(time.Until(began.Add(1500 * time.Millisecond)))
	if ready, served, last, err := g.readying(); ready != http.StatusServiceUnavailable || served != http.StatusOK || !last {
		t.Errorf("near its end: readyz %d, served %d, last %v, %v", ready, served, last, err)
	}
	if res, err := idle.Get(g.base + "/"); err != nil || !res.Close {
		t.Errorf("a kept-alive connection: %v", err)
	}
	if code := g.wait(10 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if took := time.Since(began); took < 2*time.Second || took > 6*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestSecondInterruptEndsTheLameDuck(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, newSlow(), drainPolicy("lame_duck: 60s"))
	g.signal(syscall.SIGTERM)
	g.stderr.await(t, "stopping")
	g.signal(syscall.SIGINT)
	if code := g.wait(5 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// echo is a backend that sends back what a WebSocket brings, and notes how it ended.
func echo(ended chan<- error) http.Handler {
	return websocket.Handler(func(ws *websocket.Conn) {
		_, err := io.Copy(ws, ws)
		ended <- err
	})
}

// say sends a message and reads it back.
func say(ws *websocket.Conn, text string) error {
	_ = ws.SetDeadline(time.Now().Add(10 * time.Second))
	if err := websocket.Message.Send(ws, text); err != nil {
		return err
	}
	var got string
	if err := websocket.Message.Receive(ws, &got); err != nil || got != text {
		return fmt.Errorf("echo %q, %w", got, err)
	}
	return nil
}

func dialEcho(t *testing.T, g *gatewayProcess) *websocket.Conn {
	t.Helper()
	ws, err := websocket.Dial("ws"+strings.TrimPrefix(g.base, "http")+"/echo", "", g.base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	if err := say(ws, "before"); err != nil {
		t.Fatal(err)
	}
	return ws
}

// line finds the access log's line for a path.
func (g *gatewayProcess) line(path string) map[string]any {
	g.t.Helper()
	var found map[string]any
	env.Eventually(g.t, env.Patience, func() error {
		for _, l := range g.accessLog() {
			if l["uri"] == path {
				found = l
				return nil
			}
		}
		return fmt.Errorf("no line for %s", path)
	})
	return found
}

// A WebSocket lives while the gateway drains; then it is told why it ends, and
// logged.
func TestWebSocketsDrain(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	g, _ := startSmall(t, echo(ended), drainPolicy("drain: 2s"))
	ws := dialEcho(t, g)
	g.signal(syscall.SIGTERM)
	g.stderr.await(t, "stopping")
	time.Sleep(time.Second)
	if err := say(ws, "while draining"); err != nil {
		t.Fatal(err)
	}
	frame, err := ws.NewFrameReader()
	if err != nil {
		t.Fatal("no frame: ", err)
	}
	text, err := io.ReadAll(frame)
	if frame.PayloadType() != websocket.CloseFrame || string(text) != "\x03\xe9" || err != nil {
		t.Errorf("last frame %d %x, %v; want a close frame with 1001", frame.PayloadType(), text, err)
	}
	if code := g.wait(5 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if l := g.line("/echo"); l["status"] != 101.0 || l["reason"] != "gateway stopped" {
		t.Errorf("logged as %v", l)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the upstream is not told")
	}
}

// One that its client ends meanwhile is not waited for any longer.
func TestDrainEndsWithTheLastWebSocket(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, echo(make(chan error, 1)), drainPolicy("drain: 60s"))
	ws := dialEcho(t, g)
	g.signal(syscall.SIGTERM)
	g.stderr.await(t, "stopping")
	time.Sleep(500 * time.Millisecond)
	_ = ws.Close()
	if code := g.wait(5 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if l := g.line("/echo"); l["status"] != 101.0 || l["reason"] != nil {
		t.Errorf("logged as %v", l)
	}
}

// A client that does not answer the close frame does not keep the process.
func TestWebSocketThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, echo(make(chan error, 1)), drainPolicy("drain: 1s"))
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://localhost\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal("no switch: ", err)
	}
	g.signal(syscall.SIGTERM)
	if code := g.wait(8 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if l := g.line("/echo"); l["reason"] != "gateway stopped" {
		t.Errorf("logged as %v", l)
	}
}

// ticks is a backend that sends a line now and then, for as long as one listens.
func ticks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	for {
		_, _ = io.WriteString(w, "{}\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A stream does not keep data_dir: a successor starts while it still goes on. When
// the time is over it is cut off, and logged.
func TestAStreamLeavesDataDirToASuccessor(t *testing.T) {
	t.Parallel()
	g, file := startSmall(t, http.HandlerFunc(ticks), drainPolicy("drain: 6s"))
	res, err := http.Get(g.base + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	stream := bufio.NewReader(res.Body)
	began := time.Now()
	g.signal(syscall.SIGTERM)
	next := func() *gatewayProcess {
		for {
			again := launch(t, nil, "run", "--config", filepath.Join(filepath.Dir(file), "gateway.yaml"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
			for again.locate() != nil {
				select {
				case err := <-again.ended:
					again.ended <- err
				case <-time.After(10 * time.Millisecond):
					continue
				}
				break
			}
			if again.locate() == nil {
				return again
			}
			if time.Since(began) > 5*time.Second {
				t.Fatalf("no successor can start:\n%s", again.stderr.String())
			}
		}
	}()
	if line, err := stream.ReadString('\n'); err != nil || line != "{}\n" {
		t.Errorf("the stream has ended: %q, %v", line, err)
	}
	if a := next.get(next.admin + "/livez"); a.StatusCode != http.StatusOK {
		t.Errorf("the successor: %s", a.Status)
	}
	if _, err := io.Copy(io.Discard, stream); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v", err)
	}
	if code := g.wait(5 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if l := g.line("/events"); l["status"] != 200.0 {
		t.Errorf("logged as %v", l)
	}
	g.stderr.await(t, "requests were cut off")
}

// A stream of events whose client reconnects ends as soon as no new connection is accepted, and whole, whatever is
// between the proxy and the client; one whose client may not when drain is over.
func TestEventsEndWithTheListener(t *testing.T) {
	t.Parallel()
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	text := drainPolicy("drain: 3s") + "  - {name: cached, match: {methods: [GET], path: /cached}, upstream: app, cache: {mode: strict}}\n"
	g, _ := startSmall(t, backend, text)
	var bodies []io.ReadCloser
	for i, path := range []string{"/plain", "/cached", "/curl"} {
		req, err := http.NewRequest(http.MethodGet, g.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", []string{"text/event-stream", "text/event-stream", "*/*"}[i])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.ReadFull(res.Body, make([]byte, len("data: 1\n\n"))); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, res.Body)
	}
	g.signal(syscall.SIGTERM)
	began := time.Now()
	for i, body := range bodies {
		if rest, err := io.ReadAll(body); err != nil || len(rest) > 0 {
			t.Errorf("it ends with %q, %v", rest, err)
		}
		if waited := time.Since(began) > 2*time.Second; waited != (i == 2) {
			t.Errorf("stream %d ended after %v", i, time.Since(began))
		}
	}
	if code := g.wait(15 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if l := g.line("/plain"); l["reason"] != "gateway stopped" || l["status"] != 200.0 {
		t.Errorf("logged: %v", l)
	}
}
