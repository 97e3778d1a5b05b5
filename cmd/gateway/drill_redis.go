package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jewgo/gateway/internal/redisurl"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/faultproxy"
)

// server finds the Redis to stand before, or starts one; own is nil where it is
// somebody else's.
func (o *drillOptions) server(p *policy.Policy, dir string) (_ redisurl.URL, own *ownRedis, err error) {
	raw := o.redis
	if raw == "" {
		raw = p.Redis.URL
	}
	if redisurl.None(raw) {
		if own, err = newOwnRedis(dir); err != nil {
			return redisurl.URL{}, nil, err
		}
		return redisurl.URL{Addrs: []string{own.socket}}, own, nil
	}
	behind, err := redisurl.Parse(raw)
	if err != nil {
		return behind, nil, fmt.Errorf("redis: %w", err)
	}
	if behind.Cluster || behind.Service != "" || behind.TLS {
		return behind, nil, errors.New("a drill needs one Redis and no TLS; name another with --redis")
	}
	return behind, nil, nil
}

// proxyTarget is where the proxy finds that Redis.
func proxyTarget(behind redisurl.URL) string {
	if filepath.IsAbs(behind.Addrs[0]) {
		return "unix:" + behind.Addrs[0]
	}
	return behind.Addrs[0]
}

// through is the URL of that Redis by way of the proxy.
func through(proxy *faultproxy.Proxy, behind redisurl.URL) string {
	u := url.URL{Scheme: "redis", Host: proxy.Addr(), Path: "/" + strconv.Itoa(behind.DB)}
	if behind.User != "" || behind.Password != "" {
		u.User = url.UserPassword(behind.User, behind.Password)
	}
	return u.String()
}

// ownRedis is a redis-server that lives as long as the drill, on a socket in dir.
// It writes what it holds to a file there when it is told to, and reads that when
// it starts.
type ownRedis struct {
	program, dir, socket string
	process              *exec.Cmd // nil: it was killed
}

func newOwnRedis(dir string) (*ownRedis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed: install it, or name a Redis with --redis")
	}
	r := &ownRedis{program: program, dir: dir, socket: filepath.Join(dir, "redis.sock")}
	return r, r.start()
}

// start starts the server and waits until it answers.
func (r *ownRedis) start() error {
	process := exec.Command(r.program, "--port", "0", "--unixsocket", r.socket, "--save", "", "--appendonly", "no", "--dir", r.dir)
	if err := process.Start(); err != nil {
		return fmt.Errorf("redis-server: %w", err)
	}
	r.process = process
	var err error
	for range 200 {
		if err = r.command("PING", "+PONG"); err == nil {
			return nil
		}
		time.Sleep(25 * time.Millisecond)
	}
	r.end()
	return fmt.Errorf("redis-server does not answer: %w", err)
}

// kill ends the server without a warning.
func (r *ownRedis) kill() error {
	err := r.process.Process.Kill()
	_ = r.process.Wait() // the kill is its status
	r.process = nil
	return err
}

// end ends a server that may have been killed before, or was never there.
func (r *ownRedis) end() {
	if r != nil && r.process != nil {
		_ = r.kill() // it holds nothing that is worth saving
	}
}

func (r *ownRedis) empty() error { return r.command("FLUSHALL", "+OK") }

func (r *ownRedis) save() error { return r.command("SAVE", "+OK") }

// evict deletes the epoch, and with it the generations of the cache's tags.
func (r *ownRedis) evict() error { return r.command("DEL gw:{epoch}", ":1") }

// commandTime bounds a command. A reply that never comes must not hold up the drill.
const commandTime = 5 * time.Second

// command sends a command and expects one line.
func (r *ownRedis) command(command, want string) error {
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it has answered
	if err := conn.SetDeadline(time.Now().Add(commandTime)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if line != want+"\r\n" {
		return fmt.Errorf("%s: %q", command, line)
	}
	return nil
}
