package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	h2spec "github.com/summerwind/h2spec/hpack"
	h2specHTTP2 "github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/jewgo/gateway/test/env"
)

// h2specFailures are the cases of h2spec that net/http does not pass: an order of settings and their
// acknowledgement, and fields of a connection, to which the gateway answers 400.
var h2specFailures = []string{"http2/6.5.3/1", "http2/8.1.2.2/1", "http2/8.1.2.2/2"}

func TestHTTP2Specification(t *testing.T) {
	t.Parallel()
	g, _, _ := startSecure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("text ", 100))
	}), nil)
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(g.base, "https://"))
	cfg := &config.Config{Host: host, Port: portOf(":" + port), Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000, TLS: true, Insecure: true}
	ran := 0
	var check func(group *spec.TestGroup)
	check = func(group *spec.TestGroup) {
		for _, c := range group.Tests {
			if c.Result == nil || c.Result.Skipped {
				continue
			}
			ran++
			id := fmt.Sprintf("%s/%d", group.ID(), c.Result.Sequence)
			if c.Result.Failed && !slices.Contains(h2specFailures, id) {
				t.Errorf("%s: %s: %v", id, c.Desc, c.Result.Error)
			}
		}
		for _, g := range group.Groups {
			check(g)
		}
	}
	for _, group := range []*spec.TestGroup{generic.Spec(), h2specHTTP2.Spec(), h2spec.Spec()} {
		group.Test(cfg)
		check(group)
	}
	if ran < 140 {
		t.Errorf("only %d cases ran", ran)
	}
}

// http2Conn is a connection that says what a test wants.
type http2Conn struct {
	*tls.Conn
	framer   *http2.Framer
	block    bytes.Buffer
	encoder  *hpack.Encoder
	settings map[http2.SettingID]uint32
	stream   uint32 // of the last request; 0: there was none
}

func dialHTTP2(t *testing.T, g *gatewayProcess, ca *env.CA) *http2Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(g.base, "https://"), &tls.Config{RootCAs: ca.Pool, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &http2Conn{Conn: conn, framer: http2.NewFramer(conn, conn), settings: map[http2.SettingID]uint32{}}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := c.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := c.framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	_ = frame.(*http2.SettingsFrame).ForeachSetting(func(s http2.Setting) error { // it never fails
		c.settings[s.ID] = s.Val
		return nil
	})
	return c
}

// begin sends the head of a request; fields are names and values in turn.
func (c *http2Conn) begin(fields ...string) error {
	c.stream = (c.stream + 1) | 1
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
	}
	return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.block.Bytes(), EndStream: true, EndHeaders: true})
}

// ask sends a request and returns the status, or the error that ends the stream.
func (c *http2Conn) ask(path string, fields ...string) string {
	pseudo := []string{":method", "GET", ":scheme", "https", ":path", path, ":authority", "a.test"}
	if len(fields) > 0 && strings.HasPrefix(fields[0], ":") {
		pseudo = nil
	}
	if err := c.begin(append(pseudo, fields...)...); err != nil {
		return err.Error()
	}
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err.Error()
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == c.stream {
				return f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			return f.ErrCode.String()
		case *http2.GoAwayFrame:
			return f.ErrCode.String()
		}
	}
}

func TestHTTP2Hygiene(t *testing.T) {
	t.Parallel()
	g, ca, _ := startSecure(t, tells, nil)
	c := dialHTTP2(t, g, ca)
	for _, r := range []struct {
		why    string
		fields []string
		want   string
	}{
		{"nothing wrong", nil, "200"},
		{"the same host twice", []string{"host", "a.test"}, "200"},
		{"host unlike :authority", []string{"host", "127.0.0.1"}, "400"},
		{"a field of a connection", []string{"connection", "close"}, "400"},
		{"keep-alive", []string{"keep-alive", "timeout=5"}, "400"},
		{"te other than trailers", []string{"te", "gzip"}, "400"},
		{"te", []string{"te", "trailers"}, "200"},
		{"another expectation", []string{"expect", "the impossible"}, "417"},
		{"an upgrade to WebSocket", []string{"upgrade", "websocket", "connection", "upgrade"}, "400"},
		{"a WebSocket as RFC 8441 has it, which was not offered", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/", ":authority", "a.test"}, "PROTOCOL_ERROR"},
		{"CONNECT", []string{":method", "CONNECT", ":authority", "a.test:443"}, "501"},
		{"a host that is not served", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "other.test"}, "421"},
		{"a long target", []string{":method", "GET", ":scheme", "https", ":path", "/" + strings.Repeat("a", 4000), ":authority", "a.test"}, "414"},
		{"UTF-8 in the target", []string{":method", "GET", ":scheme", "https", ":path", "/café", ":authority", "a.test"}, "400"},
		{"a fragment", []string{":method", "GET", ":scheme", "https", ":path", "/a#b", ":authority", "a.test"}, "400"},
		{"the method that stands for refused requests", []string{":method", "-", ":scheme", "https", ":path", "/", ":authority", "a.test"}, "400"},
		{"a long field", []string{"x-a", strings.Repeat("a", 8000)}, "431"},
		{"many fields", strings.Split(strings.Repeat("x-a b ", 80)+"x-a b", " "), "431"},
	} {
		if got := c.ask("/", r.fields...); got != r.want {
			t.Errorf("%s: %s, want %s", r.why, got, r.want)
		}
	}
	for id, want := range map[http2.SettingID]uint32{http2.SettingMaxConcurrentStreams: 100, http2.SettingMaxFrameSize: 16 << 10, http2.SettingEnableConnectProtocol: 0} {
		if got := c.settings[id]; got != want {
			t.Errorf("%s is %d, want %d", id, got, want)
		}
	}
	if got := c.settings[http2.SettingMaxHeaderListSize]; got < 32<<10 || got > 40<<10 {
		t.Errorf("heads of up to %d bytes are taken, with max_header: 32KiB", got)
	}
}

// floodHTTP2 keeps sending what one connection after the other takes, until end is closed. It returns how many
// connections the gateway has ended, and how.
func floodHTTP2(t *testing.T, g *gatewayProcess, ca *env.CA, end <-chan struct{}, send func(*http2Conn) error) (ended map[string]int, sent int) {
	ended = map[string]int{}
	for {
		c := dialHTTP2(t, g, ca)
		why := make(chan string, 1)
		go func() { // ends with the connection
			for {
				frame, err := c.framer.ReadFrame()
				if away, ok := frame.(*http2.GoAwayFrame); ok {
					why <- away.ErrCode.String()
					return
				}
				if err != nil {
					why <- "closed"
					return
				}
			}
		}()
		for {
			select {
			case <-end:
				_ = c.Close()
				return ended, sent
			case w := <-why:
				ended[w]++
				_ = c.Close()
			default:
				if send(c) == nil {
					sent++
					continue
				}
				ended[<-why]++
			}
			break
		}
	}
}

func TestHTTP2FloodsHarmNobodyElse(t *testing.T) {
	var inFlight, most, reached atomic.Int64
	g, ca, _ := startSecure(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		for now := inFlight.Add(1); ; {
			was := most.Load()
			if now <= was || most.CompareAndSwap(was, now) {
				break
			}
		}
		defer inFlight.Add(-1)
		if r.URL.Path == "/slow" {
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
		}
	}), nil)
	head := func(path string) []string {
		return []string{":method", "GET", ":scheme", "https", ":path", path, ":authority", "a.test"}
	}
	for name, send := range map[string]func(*http2Conn) error{
		"resets": func(c *http2Conn) error { // rapid reset, CVE-2023-44487
			return errors.Join(c.begin(head("/slow")...), c.framer.WriteRSTStream(c.stream, http2.ErrCodeCancel))
		},
		"continuations": func(c *http2Conn) error { // CVE-2023-45288
			if c.stream == 0 {
				c.block.Reset()
				for i := 0; i < 8; i += 2 {
					_ = c.encoder.WriteField(hpack.HeaderField{Name: head("/")[i], Value: head("/")[i+1]})
				}
				c.stream = 1
				return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block.Bytes()})
			}
			c.block.Reset()
			_ = c.encoder.WriteField(hpack.HeaderField{Name: fmt.Sprint("x-", c.stream), Value: strings.Repeat("x", 4000)})
			c.stream++
			return c.framer.WriteContinuation(1, false, c.block.Bytes())
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := make(chan struct{})
			var flooding sync.WaitGroup
			flooding.Go(func() {
				ended, sent := floodHTTP2(t, g, ca, end, send)
				t.Logf("%d sent, connections ended: %v", sent, ended)
				if sent < 100 || len(ended) == 0 {
					t.Errorf("%d were sent, and no connection was ended", sent)
				}
			})
			var took []time.Duration
			clients := []*http.Client{httpsClient(g, ca, true), httpsClient(g, ca, false)}
			for begun := time.Now(); time.Since(begun) < 2*time.Second; time.Sleep(10 * time.Millisecond) {
				at := time.Now()
				if a := getBy(t, clients[len(took)%2], g.base+"/cached"); a.StatusCode != 200 {
					t.Errorf("another client got %s", a.Status)
				}
				took = append(took, time.Since(at))
			}
			close(end)
			flooding.Wait()
			slices.Sort(took)
			if p99 := took[len(took)*99/100]; os.Getenv("GATEWAY_BENCH") != "" && p99 > 50*time.Millisecond {
				t.Errorf("p99 of others is %v, want 50ms at most", p99)
			}
			t.Logf("%d requests of others: p50 %v, p99 %v; %d of all reached the upstream", len(took), took[len(took)/2], took[len(took)*99/100], reached.Swap(0))
		})
	}
	if most.Load() > 500 {
		t.Errorf("%d requests of the floods were upstream at once", most.Load())
	}
}

func TestGRPCPasses(t *testing.T) {
	t.Parallel()
	// A server that speaks HTTP/2 without TLS, and echoes each message as it arrives.
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := &http.Server{ReadHeaderTimeout: 5 * time.Second, Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			t.Errorf("the upstream got %s with TE %q", r.Proto, r.Header.Get("Te"))
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			_, _ = fmt.Fprintf(w, "echo %s\n", lines.Text())
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
	})}
	go func() { _ = upstream.Serve(l) }() // ends with the test
	t.Cleanup(func() { _ = upstream.Close() })
	g, ca, _ := startSecure(t, tells, func(policy string) string {
		i, j := strings.Index(policy, "targets: ["), strings.Index(policy, "], concurrency")
		return policy[:i] + `targets: ["h2c://` + l.Addr().String() + `"` + policy[j:]
	})
	body, messages := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.base+"/pkg.Service/Method", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	go func() { _, _ = io.WriteString(messages, "one\n") }()
	res, err := httpsClient(g, ca, true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for _, message := range []string{"one", "two", "three"} { // each way while the other is open
		if !lines.Scan() || lines.Text() != "echo "+message {
			t.Fatalf("got %q (%v), want the echo of %s", lines.Text(), lines.Err(), message)
		}
		if next := map[string]string{"one": "two\n", "two": "three\n"}[message]; next != "" {
			_, _ = io.WriteString(messages, next)
		}
	}
	_ = messages.Close()
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("more came: %q (%v)", lines.Text(), lines.Err())
	}
	if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Grpc-Message") != "fine" || res.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("header %v, trailer %v", res.Header, res.Trailer)
	}
}

func TestHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "upgrade %q", r.Header.Get("Upgrade"))
	}))
	t.Cleanup(upstream.Close)
	for _, asked := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "gateway.yaml")
		writePolicy(t, file, strings.Replace(fmt.Sprintf(smallPolicy, upstream.URL), "data_dir: ./data,", fmt.Sprintf("data_dir: ./data, h2c: %v,", asked), 1))
		g := start(t, nil, "run", "--config", file)
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		prior := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: 5 * time.Second}
		res, err := prior.Get(g.base + "/")
		if (err == nil) != asked {
			t.Errorf("h2c: %v: prior knowledge: %v", asked, err)
		}
		if err == nil {
			_ = res.Body.Close()
			if res.ProtoMajor != 2 {
				t.Errorf("h2c: %v: %s", asked, res.Proto)
			}
		}
		a := g.get("/", "Upgrade", "h2c", "Connection", "Upgrade, HTTP2-Settings", "HTTP2-Settings", "AAMAAABkAAQAAP__")
		if a.StatusCode != 200 || a.ProtoMajor != 1 || a.body != `upgrade ""` {
			t.Errorf("h2c: %v: an upgrade: %s %s %s", asked, a.Proto, a.Status, a.body)
		}
	}
}

// Behind a trusted proxy one connection carries many clients: those who cancel do not cost the others theirs.
func TestCancelsBehindAProxy(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1000)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		if r.URL.Path == "/last" {
			time.Sleep(3 * time.Second)
			return
		}
		<-r.Context().Done()
	}))
	t.Cleanup(upstream.Close)
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	writePolicy(t, file, strings.Replace(fmt.Sprintf(smallPolicy, upstream.URL), "data_dir: ./data,", "data_dir: ./data, h2c: true, trusted_proxies: [127.0.0.1/32],", 1))
	g := start(t, nil, "run", "--config", file)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	proxy := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	get := func(ctx context.Context, path string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base+path, nil)
		if err != nil {
			return err
		}
		res, err := proxy.Do(req)
		if err == nil {
			err = res.Body.Close()
		}
		return err
	}
	last := make(chan error, 1)
	go func() { last <- get(t.Context(), "/last") }()
	<-begun
	for range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { _ = get(ctx, "/cancelled") }) // it is
		}
		for range 50 {
			<-begun
		}
		cancel()
		all.Wait()
	}
	if err := env.Receive(t, "the last one", last); err != nil {
		t.Errorf("another client's request: %v", err)
	}
}
