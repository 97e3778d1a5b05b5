package faultproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

// write returns a script, by which a gateway writes.
func write(client redis.Client) func(context.Context) error {
	script := goredis.NewScript("return redis.call('SET', KEYS[1], 'v')")
	return func(ctx context.Context) error { return script.Run(ctx, client, []string{"written"}).Err() }
}

// TestFaultsAsGoRedisSeesThem tests what the gateway's client gets from each fault of the catalogue, on
// connections that were open before.
func TestFaultsAsGoRedisSeesThem(t *testing.T) {
	server := env.Redis(t)
	direct := open(t, server.URL)
	if err := direct.Set(t.Context(), "k", strings.Repeat("x", 10_000), 0).Err(); err != nil {
		t.Fatal(err)
	}
	const answer, timeout, fault = failover.Answer, failover.Timeout, failover.Fault
	type seen struct {
		kind failover.Kind
		text string // part of the error's
	}
	ok := seen{answer, ""}
	late := seen{timeout, ""}
	refused := func(f Fault) seen { return seen{fault, strings.TrimPrefix(f.Answer, "-")} }
	for _, f := range Faults() {
		one := refused(f.Fault)
		row := struct{ ping, read, write seen }{one, one, one} // of every command
		switch f.Name {
		case "cut":
			dead := seen{fault, "connection refused"}
			row.ping, row.read, row.write = dead, dead, dead
		case "reset", "slow", "noscript": // go-redis checks idle connections before use, and sends unknown scripts
			row.ping, row.read, row.write = ok, ok, ok
		case "half-open", "blackhole", "too-slow", "drop-reply":
			row.ping, row.read, row.write = late, late, late
		case "readonly", "oom", "noreplicas", "noperm":
			row.ping, row.read = ok, ok
		case "misconf":
			row.read = ok
		case "garbage":
			row.ping, row.read, row.write = seen{fault, "redis: "}, seen{fault, "redis: "}, seen{fault, "redis: "}
		case "flap", "drop-every":
			continue // not deterministic; each has its own test
		}
		t.Run(f.Name, func(t *testing.T) {
			if f.Fault.Link != Cut { // else a parallel test might take its port
				t.Parallel()
			}
			p := between(t, server.Addr)
			client := open(t, p.URL())
			calls := []struct {
				name string
				do   func(context.Context) error
				want seen
			}{
				{"ping", func(ctx context.Context) error { return client.Ping(ctx).Err() }, row.ping},
				{"read", func(ctx context.Context) error { return client.Get(ctx, "k").Err() }, row.read},
				{"write", write(client), row.write},
			}
			for _, c := range calls {
				if err := call(t, c.do); err != nil {
					t.Fatalf("%s before: %v", c.name, err)
				}
			}
			set(t, p, f.Fault)
			for _, c := range calls {
				err := call(t, c.do)
				if kind := redis.Classify(err); kind != c.want.kind {
					t.Errorf("%s: kind %d, want %d: %v", c.name, kind, c.want.kind, err)
				}
				if err != nil && !strings.Contains(err.Error(), c.want.text) {
					t.Errorf("%s: %v, want %q", c.name, err, c.want.text)
				}
			}
			set(t, p, Fault{})
			for _, c := range calls {
				env.Until(t, c.name+" works again, by the same client", func() bool { return call(t, c.do) == nil })
			}
		})
	}
}

func TestConnectionsOfADeadServer(t *testing.T) {
	p := between(t, env.Redis(t).Addr)
	for range 20 { // the port stays the same
		w := dial(t, p.Addr())
		w.do(t, "PING")
		set(t, p, Fault{Link: Cut})
		if got, err := w.read(); !errors.Is(err, io.EOF) {
			t.Errorf("%q, %v; want the end", got, err)
		}
		if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", err)
		}
		set(t, p, Fault{})
	}
	dial(t, p.Addr()).do(t, "PING")
}

func TestReset(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	w := dial(t, p.Addr())
	w.send(t, request("BLPOP", "nothing", "0"))
	env.Until(t, "the command is under way", func() bool { return p.Stats().Commands["BLPOP"] == 1 })
	set(t, p, Fault{Reset: true})
	if got, err := w.read(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q, %v; want a reset", got, err)
	}
	dial(t, p.Addr()).do(t, "PING") // new connections are not reset
}

func TestHalfOpen(t *testing.T) {
	t.Parallel()
	for _, link := range []Link{HalfOpen, Blackhole} {
		server := env.Redis(t)
		p := between(t, server.Addr)
		idle, busy := dial(t, p.Addr()), dial(t, p.Addr())
		idle.do(t, "PING")
		busy.do(t, "PING")
		set(t, p, Fault{Link: link})
		mustBeSilent(t, busy, request("INCR", "n"))
		if link == HalfOpen {
			late := dial(t, p.Addr())
			mustBeSilent(t, late, request("INCR", "n"))
			set(t, p, Fault{Link: Blackhole}) // from one silent fault to another
			mustBeSilent(t, late, request("INCR", "n"))
		}
		set(t, p, Fault{})
		if got, err := busy.read(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection that lost bytes: %q, %v; want a reset", got, err)
		}
		if got := idle.do(t, "PING"); got != "+PONG\r\n" {
			t.Errorf("a connection that lost none: %q", got)
		}
		if got := dial(t, server.Addr).do(t, "EXISTS", "n"); got != ":0\r\n" {
			t.Error("a lost command was executed")
		}
	}
}

// TestRepliesLostOnTheWay sets a silent fault before the server has answered.
func TestRepliesLostOnTheWay(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	p := between(t, server.Addr)
	w := dial(t, p.Addr())
	w.send(t, request("BLPOP", "l", "0"))
	env.Until(t, "the command is under way", func() bool { return p.Stats().Commands["BLPOP"] == 1 })
	set(t, p, Fault{Link: HalfOpen})
	dial(t, server.Addr).do(t, "LPUSH", "l", "v")
	mustBeSilent(t, w, "")
	set(t, p, Fault{})
	if got, err := w.read(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q, %v; want a reset", got, err)
	}
}

// mustBeSilent sends a command and expects neither a reply nor the end of the connection.
func mustBeSilent(t *testing.T, w *wire, send string) {
	t.Helper()
	w.send(t, send)
	if err := w.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if b, err := w.r.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v; want silence", b, err)
	}
}

func TestBlackholeHangsDials(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux, which drops connections when the backlog is full")
	}
	p := between(t, env.Redis(t).Addr)
	for _, before := range []Fault{{}, {Link: Cut}, {Link: HalfOpen}} {
		set(t, p, before)
		set(t, p, Fault{Link: Blackhole})
		for range 3 {
			c, err := net.DialTimeout("tcp", p.Addr(), 100*time.Millisecond)
			var network net.Error
			if !errors.As(err, &network) || !network.Timeout() {
				t.Errorf("after %v: dial: %v; want a timeout", before.Link, err)
			}
			if err == nil {
				c.Close()
			}
		}
		set(t, p, Fault{})
		dial(t, p.Addr()).do(t, "PING")
	}
}

func TestDelayIsOneForAPipeline(t *testing.T) {
	p := between(t, env.Redis(t).Addr)
	w := dial(t, p.Addr())
	const delay, commands = 100 * time.Millisecond, 100
	set(t, p, Fault{Delay: delay})
	start := time.Now()
	w.send(t, strings.Repeat(request("PING"), commands))
	for range commands {
		if got, err := w.read(); got != "+PONG\r\n" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if d := time.Since(start); d < delay || d > commands*delay/2 {
		t.Errorf("a pipeline took %v", d)
	}
	set(t, p, Fault{Delay: time.Hour})
	w.send(t, request("PING"))
	time.Sleep(20 * time.Millisecond)
	set(t, p, Fault{})
	if got, err := w.read(); got != "+PONG\r\n" || err != nil {
		t.Errorf("after it is over: %q, %v", got, err)
	}
}

func TestDroppedRepliesAreOfExecutedCommands(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	p := between(t, server.Addr)
	w := dial(t, p.Addr())
	set(t, p, Fault{Drop: true})
	mustBeSilent(t, w, request("INCR", "n")+request("INCR", "n"))
	mustBeSilent(t, w, request("INCR", "n")) // the connection stays silent
	env.Until(t, "all are executed", func() bool { return dial(t, server.Addr).do(t, "GET", "n") == "$1\r\n3\r\n" })
	set(t, p, Fault{})
	if got, err := w.read(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("when it is over: %q, %v; want a reset", got, err)
	}
}

// TestDropEvery loses some replies, but no command may get another's reply.
func TestDropEvery(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	p := between(t, server.Addr)
	client := open(t, p.URL())
	if err := client.Ping(t.Context()).Err(); err != nil { // so that the first call need not dial
		t.Fatal(err)
	}
	set(t, p, Fault{Drop: true, Every: 5})
	lost := 0
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		got, err := client.IncrBy(ctx, "n", 1).Result()
		cancel()
		if err == nil && got != int64(i+1) {
			t.Fatalf("call %d got %d", i, got)
		}
		if err != nil {
			lost++
			if redis.Classify(err) != failover.Timeout {
				t.Errorf("%v", err)
			}
		}
	}
	if lost != 4 {
		t.Errorf("%d of 20 replies were lost", lost)
	}
}

func TestFlap(t *testing.T) {
	p := between(t, env.Redis(t).Addr)
	const phase = 30 * time.Millisecond
	up := func() bool {
		c, err := net.Dial("tcp", p.Addr())
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	set(t, p, Fault{Link: Cut, Flap: Flap{Up: phase, Down: phase}})
	for range 3 {
		env.Until(t, "it is down", func() bool { return !up() })
		env.Until(t, "it is up", up)
	}
	set(t, p, Fault{})
	for range 20 {
		if !up() {
			t.Fatal("it flaps after it was healed")
		}
		time.Sleep(phase / 5)
	}
	// Any fault can flap.
	set(t, p, Fault{Answer: Loading, Only: Writes, Flap: Flap{Up: phase, Down: phase}})
	w := dial(t, p.Addr())
	for range 3 {
		env.Until(t, "writes are refused", func() bool { return w.do(t, "SET", "k", "v") == Loading+"\r\n" })
		env.Until(t, "writes are made", func() bool { return w.do(t, "SET", "k", "v") == "+OK\r\n" })
	}
}

func TestSubscribersMeetFaults(t *testing.T) {
	server := env.Redis(t)
	p := between(t, server.Addr)
	client, direct := open(t, p.URL()), open(t, server.URL)
	sub := client.Subscribe(t.Context(), "c")
	defer sub.Close()
	messages := sub.Channel(goredis.WithChannelHealthCheckInterval(100 * time.Millisecond))
	arrives := func() bool {
		_ = direct.Publish(t.Context(), "c", "m").Err()
		select {
		case m := <-messages:
			return m.Payload == "m"
		case <-time.After(100 * time.Millisecond):
			return false
		}
	}
	env.Until(t, "a message comes", arrives)
	set(t, p, Fault{Answer: Loading})
	env.Until(t, "messages come under a refusal", arrives)
	set(t, p, Fault{Link: Cut})
	env.Until(t, "the subscription is gone", func() bool { return direct.PubSubNumSub(t.Context(), "c").Val()["c"] == 0 })
	set(t, p, Fault{})
	env.Until(t, "messages come again", arrives)
}

func TestCatalogue(t *testing.T) {
	names := map[string]bool{}
	for _, f := range Faults() {
		if names[f.Name] || f.Description == "" {
			t.Errorf("%q twice, or without a description", f.Name)
		}
		names[f.Name] = true
		if err := f.Fault.validate(); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	p := between(t, "127.0.0.1:1")
	for _, f := range []Fault{
		{Link: Blackhole + 1}, {Delay: -1}, {Jitter: -1}, {Every: -1}, {Flap: Flap{Up: time.Second}}, {Answer: "-ERR\r\n+OK"},
	} {
		if err := p.Set(f); err == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
}
