package env

import (
	"net"
	"slices"
	"strconv"
	"strings"
)

const (
	clusterPrimaries = 3
	clusterSlots     = 16384
)

// ClusterSet is a Redis Cluster of three primaries, a third of the slots each,
// and a replica of each, which take a second of silence for a node's end. Its
// methods are for its test's goroutine alone.
type ClusterSet struct {
	URL   string         // redis+cluster://, of the first primaries
	Nodes []*RedisServer // the first three began as primaries, the others as their replicas

	t T
}

// Cluster starts a cluster and waits until every node knows that it is whole.
func Cluster(t T) *ClusterSet {
	t.Helper()
	c := &ClusterSet{t: t}
	var addrs []string
	for range 2 * clusterPrimaries {
		node := launch(t, &RedisServer{dir: t.TempDir(), dial: dialPlain, args: clusterArgs(t)})
		c.Nodes = append(c.Nodes, node)
		addrs = append(addrs, node.Addr)
	}
	c.URL = "redis+cluster://" + strings.Join(addrs[:clusterPrimaries], ",")
	c.meet()
	for i, node := range c.Nodes[clusterPrimaries:] {
		node.Do("OK", "CLUSTER", "REPLICATE", c.id(c.Nodes[i]))
	}
	for i, node := range c.Nodes {
		node.await("cluster_state:ok", "CLUSTER", "INFO")
		node.await("cluster_slots_ok:16384", "CLUSTER", "INFO")
		if i >= clusterPrimaries {
			node.await("master_link_status:up", "INFO", "replication")
		}
	}
	for _, node := range c.Nodes { // a replica that nobody has heard of yet is not elected
		for _, replica := range c.Nodes[clusterPrimaries:] {
			node.await(strings.Replace(replica.Addr, ":", "\n", 1), "CLUSTER", "SLOTS")
		}
	}
	return c
}

// clusterArgs makes the arguments of a node. The port of the bus is not left to
// Redis, which adds 10000 to the other.
func clusterArgs(t T) func(port string) []string {
	return func(port string) []string {
		_, bus, err := net.SplitHostPort(freeAddr(t))
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(volatile, []string{
			"--port", port, "--cluster-enabled", "yes", "--cluster-port", bus,
			"--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
			"--enable-debug-command", "yes",
		})
	}
}

// meet deals the slots out and makes the nodes known to each other.
func (c *ClusterSet) meet() {
	c.t.Helper()
	host, port, err := net.SplitHostPort(c.Nodes[0].Addr)
	if err != nil {
		c.t.Fatal(err)
	}
	bus := c.Nodes[0].Do("", "CONFIG", "GET", "cluster-port")
	_, bus, _ = strings.Cut(bus, "\n")
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
		for _, other := range c.Nodes { // known by name, not only by handshake
			node.await(c.id(other), "CLUSTER", "NODES")
		}
	}
}

// id is a node's name within the cluster.
func (c *ClusterSet) id(node *RedisServer) string {
	c.t.Helper()
	return node.Do("", "CLUSTER", "MYID")
}

// Slot is the slot of a key.
func (c *ClusterSet) Slot(key string) int {
	c.t.Helper()
	n, err := strconv.Atoi(c.alive().Do("", "CLUSTER", "KEYSLOT", key))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// alive is the first node that answers.
func (c *ClusterSet) alive() *RedisServer {
	c.t.Helper()
	for _, node := range c.Nodes {
		if node.answers() {
			return node
		}
	}
	c.t.Fatal("every node is dead or frozen")
	return nil
}

// Primary is the node that serves a slot, by the word of the first that answers.
func (c *ClusterSet) Primary(slot int) *RedisServer {
	c.t.Helper()
	asked := c.alive()
	primary := c.primary(asked, slot)
	if primary == nil {
		c.t.Fatalf("nobody serves slot %d:\n%s", slot, asked.Do("", "CLUSTER", "SLOTS"))
	}
	return primary
}

// primary is the node that serves a slot by the word of another; nil: none.
func (c *ClusterSet) primary(asked *RedisServer, slot int) *RedisServer {
	c.t.Helper()
	// Each range is its ends, then the nodes, the primary first: host, port,
	// name and, as an array, more about it, which may be empty.
	lines := strings.Split(asked.Do("", "CLUSTER", "SLOTS"), "\n")
	for i := 0; i+3 < len(lines); i++ {
		first, err1 := strconv.Atoi(lines[i])
		last, err2 := strconv.Atoi(lines[i+1])
		if err1 != nil || err2 != nil || net.ParseIP(lines[i+2]) == nil || slot < first || slot > last {
			continue
		}
		for _, node := range c.Nodes {
			if node.Addr == net.JoinHostPort(lines[i+2], lines[i+3]) {
				return node
			}
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

// MoveSlot moves a slot with its keys to another primary while clients go on, as
// an operator's tools do: while half of its keys are there and half here, clients
// are told to ASK, and afterwards that it has MOVED. It returns when all agree.
func (c *ClusterSet) MoveSlot(slot int, to *RedisServer) {
	c.t.Helper()
	from, number := c.Primary(slot), strconv.Itoa(slot)
	if from == to {
		return
	}
	host, port, err := net.SplitHostPort(to.Addr)
	if err != nil {
		c.t.Fatal(err)
	}
	to.Do("OK", "CLUSTER", "SETSLOT", number, "IMPORTING", c.id(from))
	from.Do("OK", "CLUSTER", "SETSLOT", number, "MIGRATING", c.id(to))
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
	// The new owner is told first: were it the last, nobody would serve the slot
	// if the old one died in between.
	for _, node := range []*RedisServer{to, from} {
		node.Do("OK", "CLUSTER", "SETSLOT", number, "NODE", c.id(to))
	}
	for _, node := range c.Nodes[:clusterPrimaries] {
		if node != to && node != from && node.answers() {
			// Refused by one that has become a replica, which learns it otherwise.
			if _, err := node.command("CLUSTER", "SETSLOT", number, "NODE", c.id(to)); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	for _, node := range c.Nodes {
		Until(c.t, node.Addr+" hears that slot "+number+" moved", func() bool {
			return !node.answers() || c.primary(node, slot) == to
		})
	}
}
