package env

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// sentinelService is the name of the primary for the Sentinels.
const sentinelService = "main"

// sentinelConf is a Sentinel's configuration; the %s are the primary's host and port.
const sentinelConf = `sentinel monitor main %s %s 2
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 2000
`

// SentinelSet is a primary with two replicas and three Sentinels. A primary that is silent for 500 ms
// counts as dead, and two votes elect another. Only the test's goroutine may call its methods.
type SentinelSet struct {
	URL       string // redis+sentinel://, of all Sentinels
	Servers   []*RedisServer
	Sentinels []*RedisServer

	t T
}

// Sentinel starts a set and waits until it can fail over.
func Sentinel(t T) *SentinelSet {
	t.Helper()
	s := &SentinelSet{t: t, Servers: []*RedisServer{Redis(t)}}
	host, port, _ := net.SplitHostPort(s.Servers[0].Addr) // it has both
	for range 2 {
		s.Servers = append(s.Servers, Redis(t, "--replicaof", host+" "+port))
	}
	for _, replica := range s.Servers[1:] {
		replica.await("master_link_status:up", "INFO", "replication")
	}
	var addrs []string
	for range 3 {
		file := filepath.Join(t.TempDir(), "sentinel.conf") // it also writes its state there
		if err := os.WriteFile(file, fmt.Appendf(nil, sentinelConf, host, port), 0o600); err != nil {
			t.Fatal(err)
		}
		sentinel := launch(t, &RedisServer{args: func(port string) []string {
			return []string{file, "--sentinel", "--port", port}
		}})
		// So that they find each other at once.
		sentinel.Do("OK", "SENTINEL", "DEBUG", "PUBLISH-PERIOD", "100", "INFO-PERIOD", "200")
		s.Sentinels = append(s.Sentinels, sentinel)
		addrs = append(addrs, sentinel.Addr)
	}
	for _, sentinel := range s.Sentinels {
		sentinel.await("num-slaves\n2", "SENTINEL", "MASTER", sentinelService)
		sentinel.await("num-other-sentinels\n2", "SENTINEL", "MASTER", sentinelService)
		sentinel.await("OK 3 usable Sentinels", "SENTINEL", "CKQUORUM", sentinelService)
	}
	for _, sentinel := range s.Sentinels { // with short periods they would take their own failover for a fault
		sentinel.Do("OK", "SENTINEL", "DEBUG", "PUBLISH-PERIOD", "2000", "INFO-PERIOD", "10000")
	}
	s.URL = "redis+sentinel://" + strings.Join(addrs, ",") + "/" + sentinelService
	return s
}

// Primary returns the primary according to a Sentinel.
func (s *SentinelSet) Primary() *RedisServer {
	s.t.Helper()
	reply := alive(s.t, s.Sentinels).Do("", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelService)
	primary := at(s.Servers, strings.Replace(reply, "\n", ":", 1))
	if primary == nil {
		s.t.Fatalf("the Sentinels' primary %q is not in the set", reply)
	}
	return primary
}

// KillPrimary kills the primary and returns it.
func (s *SentinelSet) KillPrimary() *RedisServer {
	s.t.Helper()
	primary := s.Primary()
	primary.Kill()
	return primary
}

// FailOver promotes a replica without a fault and returns the old primary, which the Sentinels demote
// some seconds later.
func (s *SentinelSet) FailOver() (old *RedisServer) {
	s.t.Helper()
	old = s.Primary()
	alive(s.t, s.Sentinels).Do("OK", "SENTINEL", "FAILOVER", sentinelService)
	Until(s.t, "another primary", func() bool { return s.Primary() != old })
	return old
}
