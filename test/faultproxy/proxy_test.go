package faultproxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

func TestMain(m *testing.M) { env.SideBySide(8); goleak.VerifyTestMain(m) }

// budget is how long a call waits: far more than a busy machine needs, unless the fault is silent.
const budget = 500 * time.Millisecond

// between starts a proxy in front of target.
func between(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := Listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

// open returns the gateway's own client of a Redis.
func open(t testing.TB, url string) redis.Client {
	t.Helper()
	client, err := redis.Open(redis.Config{URL: url, Budget: budget, PoolSize: 50})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func set(t testing.TB, p *Proxy, f Fault) {
	t.Helper()
	if err := p.Set(f); err != nil {
		t.Fatal(err)
	}
}

// call makes one call with the time budget of a request.
func call(t testing.TB, do func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	return do(ctx)
}

// wire is a raw connection.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &wire{c, bufio.NewReader(c)}
}

func (w *wire) send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// read returns the next reply, unparsed.
func (w *wire) read() (string, error) {
	if err := w.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	raw, err := readValue(w.r, nil, nil)
	return string(raw), err
}

// request is a command as go-redis sends it.
func request(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func (w *wire) do(t testing.TB, args ...string) string {
	t.Helper()
	w.send(t, request(args...))
	reply, err := w.read()
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return reply
}

func TestValuesPassBytewise(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	// 16 MiB take a busy machine longer than the gateway's own client waits.
	patient := func(addr string) *goredis.Client {
		client := goredis.NewClient(&goredis.Options{Addr: addr, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second})
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	client := patient(between(t, server.Addr).Addr())
	value := make([]byte, 1<<20)
	for i := range value {
		value[i] = byte(i * 7 >> 3)
	}
	ctx := t.Context()
	if err := client.Set(ctx, "k", value, 0).Err(); err != nil {
		t.Fatal(err)
	}
	for _, from := range []*goredis.Client{client, patient(server.Addr)} {
		got, err := from.Get(ctx, "k").Bytes()
		if err != nil || !bytes.Equal(got, value) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	for range 3 { // a pipeline that answers with 16 MiB
		cmds, err := client.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for range 16 {
				p.Get(ctx, "k")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, cmd := range cmds {
			if cmd.(*goredis.StringCmd).Val() != string(value) {
				t.Error("a value in a pipeline differs")
			}
		}
	}
}

// TestReplyTypesPass requests every RESP type from a real server.
func TestReplyTypesPass(t *testing.T) {
	t.Parallel()
	server := env.Redis(t, "--enable-debug-command", "yes")
	direct, through := dial(t, server.Addr), dial(t, between(t, server.Addr).Addr())
	for _, protocol := range []string{"2", "3"} {
		if reply := direct.do(t, "HELLO", protocol); reply[0] == '-' {
			t.Fatal(reply)
		}
		if reply := through.do(t, "HELLO", protocol); reply[0] == '-' {
			t.Fatal(reply)
		}
		for kind := range strings.FieldsSeq("string integer double null array set map attrib verbatim true false bignum push") {
			want, got := direct.do(t, "DEBUG", "PROTOCOL", kind), through.do(t, "DEBUG", "PROTOCOL", kind)
			if got != want {
				t.Errorf("RESP%s %s: %q, want %q", protocol, kind, got, want)
			}
			if kind == "push" && protocol == "3" { // a reply follows
				want, _ := direct.read()
				if got, err := through.read(); got != want || err != nil {
					t.Errorf("after a push: %q, %v, want %q", got, err, want)
				}
			}
		}
	}
}

func TestWhatIsNotRESPEndsTheConnection(t *testing.T) {
	t.Parallel()
	w := dial(t, between(t, env.Redis(t).Addr).Addr())
	w.send(t, "hello\r\n")
	if got, err := w.read(); err == nil {
		t.Errorf("%q", got)
	}
}

func TestUnixTarget(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	env.Redis(t, "--unixsocket", path)
	if got := dial(t, between(t, "unix:"+path).Addr()).do(t, "ECHO", "x"); got != "$1\r\nx\r\n" {
		t.Errorf("%q", got)
	}
}

func TestListenRefuses(t *testing.T) {
	for _, target := range []string{"", "localhost", "redis://localhost:6379"} {
		if p, err := Listen(target); err == nil {
			t.Errorf("%q is a target", target)
			p.Close()
		}
	}
}

func TestManyConnections(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	const connections, rounds = 200, 25
	var all sync.WaitGroup
	for i := range connections {
		w := dial(t, p.Addr())
		all.Go(func() {
			for j := range rounds {
				value := fmt.Sprint(i, " ", j)
				key := fmt.Sprint("k", i)
				if _, err := io.WriteString(w, request("SET", key, value)+request("GET", key)); err != nil {
					t.Error(err)
					return
				}
				ok, err1 := w.read()
				got, err2 := w.read()
				if want := fmt.Sprintf("$%d\r\n%s\r\n", len(value), value); ok != "+OK\r\n" || got != want || err1 != nil || err2 != nil {
					t.Errorf("%q, %v, %q, %v; want %q", ok, err1, got, err2, want)
					return
				}
			}
		})
	}
	all.Wait()
	if s := p.Stats(); s.RoundTrips != connections*rounds || s.Commands["SET"] != connections*rounds || s.Commands["GET"] != connections*rounds {
		t.Errorf("%+v", s)
	}
}

// TestFaultsUnderLoad switches through the whole catalogue under 50 callers. Each may only get replies
// to its own commands.
func TestFaultsUnderLoad(t *testing.T) {
	p := between(t, env.Redis(t).Addr)
	client := open(t, p.URL())
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for i := range 50 {
		callers.Go(func() {
			key := fmt.Sprint("k", i)
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				_ = call(t, func(ctx context.Context) error {
					ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
					defer cancel()
					got, err := client.Eval(ctx, "return {KEYS[1], ARGV[1]}", []string{key}, j).StringSlice()
					if err == nil && (len(got) != 2 || got[0] != key || got[1] != fmt.Sprint(j)) {
						t.Errorf("asked for %s %d, got %q", key, j, got)
					}
					return err
				})
			}
		})
	}
	for range 2 {
		for _, f := range Faults() {
			set(t, p, f.Fault)
			time.Sleep(30 * time.Millisecond)
		}
		if err := p.Heal(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond)
	}
	close(stop)
	callers.Wait()
	env.Until(t, "it works again", func() bool {
		return call(t, func(ctx context.Context) error { return client.Ping(ctx).Err() }) == nil
	})
}

func TestCloseUnderEveryFault(t *testing.T) {
	server := env.Redis(t)
	for _, f := range Faults() {
		p := between(t, server.Addr)
		w := dial(t, p.Addr())
		w.do(t, "PING")
		set(t, p, f.Fault)
		_, _ = io.WriteString(w, request("SET", "k", "v"))
		if err := p.Close(); err != nil {
			t.Errorf("%s: close: %v", f.Name, err)
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: close twice: %v", f.Name, err)
		}
		if err := p.Set(Fault{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: set after Close: %v", f.Name, err)
		}
		if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: dial after Close: %v", f.Name, err)
		}
	}
}
