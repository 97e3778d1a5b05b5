package env

import (
	"net"
	"strconv"
	"strings"
)

const (
	clusterPrimaries = 3
	clusterSlots     = 16384
)

// ClusterSet is a Redis Cluster of three primaries, with a third of the slots each, and one replica of
// each. A node that is silent for a second counts as dead. Only the test's goroutine may call its
// methods.
type ClusterSet struct {
	URL   string         // redis+cluster://, of the first primaries
	Nodes []*RedisServer // the first three start as primaries, the others as their replicas

	t T
}

// Cluster starts a cluster and waits until every node knows that it is whole.
func Cluster(t T) *ClusterSet {
	t.Helper()
	c := &ClusterSet{t: t}
	var addrs, buses []string
	for range 2 * clusterPrimaries {
		var bus string
		node := launch(t, &RedisServer{args: func(port string) []string {
			// Redis's default for the bus is port+10000, which may be taken or invalid.
			bus = FreePort(t)
			return volatile(port, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "1000",
				"--cluster-replica-validity-factor", "0", "--enable-debug-command", "yes")
		}})
		c.Nodes, addrs, buses = append(c.Nodes, node), append(addrs, node.Addr), append(buses, bus)
	}
	c.URL = "redis+cluster://" + strings.Join(addrs[:clusterPrimaries], ",")
	c.meet(buses[0])
	primaries, replicas := c.Nodes[:clusterPrimaries], c.Nodes[clusterPrimaries:]
	for i, replica := range replicas {
		replica.Do("OK", "CLUSTER", "REPLICATE", primaries[i].id())
	}
	for _, node := range c.Nodes {
		node.await("cluster_state:ok", "CLUSTER", "INFO")
		node.await("cluster_slots_ok:16384", "CLUSTER", "INFO")
	}
	for _, replica := range replicas {
		replica.await("master_link_status:up", "INFO", "replication")
		for _, node := range c.Nodes { // an unknown replica would not be elected
			node.await(strings.Replace(replica.Addr, ":", "\n", 1), "CLUSTER", "SLOTS")
		}
	}
	return c
}

// meet assigns the slots and introduces the nodes to each other through the first, whose bus has this
// port.
func (c *ClusterSet) meet(bus string) {
	c.t.Helper()
	host, port, _ := net.SplitHostPort(c.Nodes[0].Addr) // it has both
	for i, node := range c.Nodes {
		node.Do("OK", "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		if i < clusterPrimaries {
			first, end := clusterSlots*i/clusterPrimaries, clusterSlots*(i+1)/clusterPrimaries
			node.Do("OK", "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(end-1))
		}
		if i > 0 {
			node.Do("OK", "CLUSTER", "MEET", host, port, bus)
		}
	}
	for _, node := range c.Nodes {
		node.await("cluster_known_nodes:"+strconv.Itoa(len(c.Nodes)), "CLUSTER", "INFO")
		for _, other := range c.Nodes { // known by ID, not only by a handshake
			node.await(other.id(), "CLUSTER", "NODES")
		}
	}
}

// id returns a node's ID in its cluster.
func (s *RedisServer) id() string {
	s.t.Helper()
	return s.Do("", "CLUSTER", "MYID")
}

// Slot returns the slot of a key.
func (c *ClusterSet) Slot(key string) int {
	c.t.Helper()
	return must(strconv.Atoi(alive(c.t, c.Nodes).Do("", "CLUSTER", "KEYSLOT", key)))(c.t)
}

// Primary returns the node that serves a slot, according to the first node that answers.
func (c *ClusterSet) Primary(slot int) *RedisServer {
	c.t.Helper()
	asked := alive(c.t, c.Nodes)
	primary := c.primary(asked, slot)
	if primary == nil {
		c.t.Fatalf("no node serves slot %d:\n%s", slot, asked.Do("", "CLUSTER", "SLOTS"))
	}
	return primary
}

// primary returns the node that serves a slot according to asked, or nil.
func (c *ClusterSet) primary(asked *RedisServer, slot int) *RedisServer {
	c.t.Helper()
	// Each range is its first and last slot, then the nodes, the primary first: host, port, ID and an
	// array of metadata, which may be empty.
	lines := strings.Split(asked.Do("", "CLUSTER", "SLOTS"), "\n")
	for i := 0; i+3 < len(lines); i++ {
		first, err1 := strconv.Atoi(lines[i])
		last, err2 := strconv.Atoi(lines[i+1])
		if err1 != nil || err2 != nil || net.ParseIP(lines[i+2]) == nil || slot < first || slot > last {
			continue
		}
		if node := at(c.Nodes, net.JoinHostPort(lines[i+2], lines[i+3])); node != nil {
			return node
		}
	}
	return nil
}

// KillPrimary kills the node that serves a slot and returns it.
func (c *ClusterSet) KillPrimary(slot int) *RedisServer {
	c.t.Helper()
	primary := c.Primary(slot)
	primary.Kill()
	return primary
}

// MoveSlot moves a slot with its keys to another primary while clients go on, as an operator's tools
// do. During the move clients get ASK redirections, afterwards MOVED. It returns when all nodes agree.
func (c *ClusterSet) MoveSlot(slot int, to *RedisServer) {
	c.t.Helper()
	from, number := c.Primary(slot), strconv.Itoa(slot)
	if from == to {
		return
	}
	host, port, _ := net.SplitHostPort(to.Addr) // it has both
	to.Do("OK", "CLUSTER", "SETSLOT", number, "IMPORTING", from.id())
	from.Do("OK", "CLUSTER", "SETSLOT", number, "MIGRATING", to.id())
	for {
		keys := strings.Fields(from.Do("", "CLUSTER", "GETKEYSINSLOT", number, "10"))
		if len(keys) == 0 {
			break
		}
		args := append([]string{"MIGRATE", host, port, "", "0", "5000", "KEYS"}, keys...)
		if reply := from.Do("", args...); reply != "OK" && reply != "NOKEY" { // a key may have expired
			c.t.Fatalf("migrate slot %d: %s", slot, reply)
		}
	}
	// The new owner is told first. Otherwise no node would serve the slot if the old owner died in
	// between.
	owner := []string{"CLUSTER", "SETSLOT", number, "NODE", to.id()}
	to.Do("OK", owner...)
	from.Do("OK", owner...)
	for _, node := range c.Nodes[:clusterPrimaries] {
		if node != to && node != from && node.answers() {
			node.Do("", owner...) // a node that has become a replica refuses, and learns it otherwise
		}
	}
	for _, node := range c.Nodes {
		Until(c.t, node.Addr+" knows that slot "+number+" moved", func() bool {
			return !node.answers() || c.primary(node, slot) == to
		})
	}
}
