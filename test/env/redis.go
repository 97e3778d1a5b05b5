package env

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// RedisServer is a redis-server of one test. It keeps its address while the test runs. Only the test's
// goroutine may call its methods.
type RedisServer struct {
	Addr string // host:port
	URL  string // redis://host:port

	t       T
	args    func(port string) []string
	dial    func(addr string) (net.Conn, error) // nil: without TLS
	dir     string
	log     string
	process *Process
	frozen  bool // by Stop

	ip        string // "": 127.0.0.1
	namespace string // network namespace; "": that of the test
}

// Redis starts a redis-server on a free loopback port, without persistence, and waits until it answers.
// args are further arguments, such as "--maxmemory", "10mb". The test fails if redis-server is missing.
func Redis(t T, args ...string) *RedisServer {
	t.Helper()
	return launch(t, &RedisServer{args: func(port string) []string { return volatile(port, args...) }})
}

// RedisIn is Redis at an address in a network namespace, which only root may enter.
func RedisIn(t T, namespace, ip string) *RedisServer {
	t.Helper()
	return launch(t, &RedisServer{namespace: namespace, ip: ip, args: func(port string) []string {
		return volatile(port, "--protected-mode", "no")
	}})
}

// volatile returns the arguments of a server without persistence.
func volatile(port string, more ...string) []string {
	return append([]string{
		"--port", port, "--save", "", "--appendonly", "no",
		"--shutdown-on-sigterm", "save", // although there are no save points
		"--repl-diskless-sync-delay", "0", // a replica does not wait for others
		"--repl-ping-replica-period", "1", // a replica only counts after its first ping
	}, more...)
}

// launch starts s; args must be set.
func launch(t T, s *RedisServer) *RedisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("install redis-server (Debian: apt-get install redis-server)")
	}
	s.t, s.dir = t, t.TempDir()
	s.log = filepath.Join(s.dir, "redis.log")
	if s.ip == "" {
		s.ip = "127.0.0.1"
	}
	if s.dial == nil {
		s.dial = func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, time.Second) }
	}
	t.Cleanup(s.Kill)
	for range 5 { // another process may take the port before the server does
		s.Addr = net.JoinHostPort(s.ip, FreePort(t))
		s.URL = "redis://" + s.Addr
		err := s.start()
		if err == nil {
			return s
		}
		if !strings.Contains(output(s.log), "Address already in use") {
			t.Fatalf("redis-server: %v\n%s", err, output(s.log))
		}
	}
	t.Fatalf("redis-server found no free port:\n%s", output(s.log))
	return nil
}

// Pid returns the process ID of the server's current or last process.
func (s *RedisServer) Pid() int { return s.process.pid }

// answers reports whether the server is running and not frozen.
func (s *RedisServer) answers() bool { return !s.frozen && s.process.Running() }

// Kill ends the server by SIGKILL, like a crash: new connections are refused, and data since the last
// SAVE is lost. Killing twice is harmless.
func (s *RedisServer) Kill() {
	s.t.Helper()
	if s.process != nil {
		s.process.Kill()
	}
}

// End ends the server by SIGTERM, so that it saves its data.
func (s *RedisServer) End() {
	s.t.Helper()
	s.process.Stop(syscall.SIGTERM) // see volatile
}

// Restart restarts the server at the same address. With empty it starts without data. Otherwise it
// keeps its data if it was running, or had been ended. If it had been killed, it starts with the data of the last SAVE,
// like a store that is restored from an old copy.
func (s *RedisServer) Restart(empty bool) {
	s.t.Helper()
	if empty {
		s.Kill()
		if err := os.Remove(filepath.Join(s.dir, "dump.rdb")); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatalf("empty the store: %v", err)
		}
	} else {
		s.Cont()
		s.End()
	}
	var err error
	for range 20 { // for a moment the port may be the source port of another connection
		if err = s.start(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("restart redis-server: %v\n%s", err, output(s.log))
}

// Stop freezes the server by SIGSTOP: the kernel accepts connections, but nothing is answered.
func (s *RedisServer) Stop() {
	s.t.Helper()
	s.frozen = true
	s.process.Signal(syscall.SIGSTOP)
}

// Cont lets a frozen server continue.
func (s *RedisServer) Cont() {
	s.t.Helper()
	s.frozen = false
	s.process.Signal(syscall.SIGCONT)
}

func (s *RedisServer) start() error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	args := slices.Concat([]string{"redis-server"}, s.args(port), []string{"--bind", s.ip, "--dir", s.dir})
	if s.namespace != "" {
		args = append([]string{"ip", "netns", "exec", s.namespace}, args...) // which becomes the server
	}
	before := 0 // bytes of the log
	if info, err := os.Stat(s.log); err == nil {
		before = int(info.Size())
	}
	if s.process, err = start(s.t, exec.Command(args[0], args[1:]...), s.log); err != nil {
		return err
	}
	err = s.process.Await(func() error {
		said := output(s.log)[before:]
		if !strings.Contains(said, "Ready to accept connections") && !strings.Contains(said, "Sentinel ID is") {
			return errors.New("not ready") // another server may answer on the port
		}
		return s.ping()
	})
	if err != nil {
		s.process.Kill()
	}
	return err
}

// ping expects a PONG. A server that requires a password is ready too.
func (s *RedisServer) ping() error {
	reply, err := s.command("PING")
	if err == nil && reply != "PONG" && !strings.HasPrefix(reply, "NOAUTH") {
		err = errors.New(strconv.Quote(reply))
	}
	return err
}

// What is not referred to is closed when garbage is collected.
var reservations sync.Map // of ports, to net.Listener

// FreePort returns a loopback port that is free. It stays so while a server restarts: the system gives
// ports this low to nobody who asks for any port, and no other call returns it, in whatever process,
// until this process ends. The name that reserves it ends with the process too.
func FreePort(t T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(20000 + rand.IntN(10000))
		reservation, err := net.Listen("unix", "@gateway-test-port-"+port)
		if err != nil {
			continue
		}
		reservations.Store(port, reservation)
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = l.Close() // it never accepted anything
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// alive returns the first of some servers that answers.
func alive(t T, servers []*RedisServer) *RedisServer {
	t.Helper()
	i := slices.IndexFunc(servers, (*RedisServer).answers)
	if i < 0 {
		t.Fatal("every server is dead or frozen")
	}
	return servers[i]
}

// at returns the server at an address, or nil.
func at(servers []*RedisServer, addr string) *RedisServer {
	if i := slices.IndexFunc(servers, func(s *RedisServer) bool { return s.Addr == addr }); i >= 0 {
		return servers[i]
	}
	return nil
}
