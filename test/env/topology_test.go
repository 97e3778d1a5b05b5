package env

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// soon bounds how long a set may take to be ready.
const soon = 10 * time.Second

func TestMain(m *testing.M) { SideBySide(8); m.Run() }

func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := Sentinel(t)
	if d := time.Since(start); d > soon {
		t.Errorf("ready after %v", d)
	}
	t.Logf("ready after %v", time.Since(start))
	dead := s.KillPrimary()
	start = time.Now()
	Until(t, "a failover", func() bool { return s.Primary() != dead })
	t.Logf("failed over after %v", time.Since(start))
	s.Primary().await("role:master", "INFO", "replication")
	s.Primary().Do("OK", "SET", "k", "1")
}

func TestClusterFailsOver(t *testing.T) {
	t.Parallel()
	start := time.Now()
	c := Cluster(t)
	if d := time.Since(start); d > soon {
		t.Errorf("ready after %v", d)
	}
	t.Logf("ready after %v", time.Since(start))
	if got := c.Slot("{a}b"); got != 15495 { // as the specification's CRC16 has it
		t.Errorf("slot %d", got)
	}
	for slot, want := range map[int]*RedisServer{0: c.Nodes[0], 5460: c.Nodes[0], 5461: c.Nodes[1], 16383: c.Nodes[2]} {
		if got := c.Primary(slot); got != want {
			t.Errorf("slot %d at %s, want %s", slot, got.Addr, want.Addr)
		}
	}
	dead := c.KillPrimary(16383)
	start = time.Now()
	Until(t, "a failover", func() bool { return c.Primary(16383) != dead })
	t.Logf("failed over after %v", time.Since(start))
	if c.Primary(16383) != c.Nodes[5] {
		t.Error("not its replica")
	}
	c.Nodes[5].await("cluster_state:ok", "CLUSTER", "INFO")
	c.Nodes[5].Do("OK", "SET", "{a}k", "1")
}

func TestClusterMovesSlots(t *testing.T) {
	t.Parallel()
	c := Cluster(t)
	slot := c.Slot("{a}")
	for i := range 25 {
		c.Nodes[2].Do("OK", "SET", "{a}"+strconv.Itoa(i), "1")
	}
	c.MoveSlot(slot, c.Nodes[0])
	if c.Primary(slot) != c.Nodes[0] {
		t.Error("not moved")
	}
	if n := c.Nodes[0].Do("", "CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(slot)); n != "25" {
		t.Errorf("%s keys there", n)
	}
	if reply := c.Nodes[2].Do("", "GET", "{a}1"); !strings.HasPrefix(reply, "MOVED "+strconv.Itoa(slot)+" "+c.Nodes[0].Addr) {
		t.Errorf("the old owner says %q", reply)
	}
}

func TestRedisTLSAsksForACertificate(t *testing.T) {
	t.Parallel()
	s := RedisTLS(t)
	s.Do("PONG", "PING")
	s.Restart(true)
	s.Do("PONG", "PING")
	s.dial = func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }
	if reply, err := s.command("PING"); err == nil {
		t.Errorf("answers %q without TLS", reply)
	}
}
