package env

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// sentinelService is the name by which the Sentinels know the primary.
const sentinelService = "main"

// SentinelSet is one primary with two replicas, watched by three Sentinels that
// take 500 ms of silence for its end and elect another by two votes. Its methods
// are for its test's goroutine alone.
type SentinelSet struct {
	URL       string // redis+sentinel://, of all Sentinels
	Servers   []*RedisServer
	Sentinels []*RedisServer

	t T
}

// Sentinel starts a set and waits until it could fail over.
func Sentinel(t T) *SentinelSet {
	t.Helper()
	s := &SentinelSet{t: t}
	primary := Redis(t)
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Servers = []*RedisServer{primary}
	for range 2 {
		replica := Redis(t, "--replicaof", host+" "+port)
		s.Servers = append(s.Servers, replica)
	}
	for _, replica := range s.Servers[1:] {
		replica.await("master_link_status:up", "INFO", "replication")
	}
	var addrs []string
	for range 3 {
		sentinel := launch(t, newSentinel(t, host, port))
		// So that they meet at once.
		sentinel.Do("OK", "SENTINEL", "DEBUG", "PUBLISH-PERIOD", "100", "INFO-PERIOD", "200")
		s.Sentinels = append(s.Sentinels, sentinel)
		addrs = append(addrs, sentinel.Addr)
	}
	for _, sentinel := range s.Sentinels {
		sentinel.await("num-slaves\n2", "SENTINEL", "MASTER", sentinelService)
		sentinel.await("num-other-sentinels\n2", "SENTINEL", "MASTER", sentinelService)
		sentinel.await("OK 3 usable Sentinels", "SENTINEL", "CKQUORUM", sentinelService)
	}
	for _, sentinel := range s.Sentinels { // in such haste they take what they do themselves for a fault
		sentinel.Do("OK", "SENTINEL", "DEBUG", "PUBLISH-PERIOD", "2000", "INFO-PERIOD", "10000")
	}
	s.URL = "redis+sentinel://" + strings.Join(addrs, ",") + "/" + sentinelService
	return s
}

// newSentinel is a Sentinel that is not yet started. It keeps its state in a file.
func newSentinel(t T, host, port string) *RedisServer {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 2000\n",
		sentinelService, host, port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &RedisServer{dir: dir, dial: dialPlain, args: func(port string) []string {
		return []string{file, "--sentinel", "--port", port}
	}}
}

// alive is a Sentinel that answers.
func (s *SentinelSet) alive() *RedisServer {
	s.t.Helper()
	for _, sentinel := range s.Sentinels {
		if sentinel.answers() {
			return sentinel
		}
	}
	s.t.Fatal("every Sentinel is dead or frozen")
	return nil
}

// Primary is the primary by the word of a Sentinel.
func (s *SentinelSet) Primary() *RedisServer {
	s.t.Helper()
	addr := strings.Replace(s.alive().Do("", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelService), "\n", ":", 1)
	for _, server := range s.Servers {
		if server.Addr == addr {
			return server
		}
	}
	s.t.Fatalf("the Sentinels know a primary %s, which is none of the set", addr)
	return nil
}

// KillPrimary kills the primary and returns it.
func (s *SentinelSet) KillPrimary() *RedisServer {
	s.t.Helper()
	primary := s.Primary()
	primary.Kill()
	return primary
}

// FailOver makes a replica the primary without a fault and returns the old one,
// which the Sentinels make a replica of the new one some seconds later.
func (s *SentinelSet) FailOver() (old *RedisServer) {
	s.t.Helper()
	old = s.Primary()
	s.alive().Do("OK", "SENTINEL", "FAILOVER", sentinelService)
	Until(s.t, "another primary", func() bool { return s.Primary() != old })
	return old
}
