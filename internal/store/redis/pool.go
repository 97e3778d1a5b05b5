package redis

import "github.com/redis/go-redis/v9"

// Pool is what the connection pools of a client have done and hold, all nodes
// together. The first five only grow, but where a cluster loses a node.
type Pool struct {
	Hits     uint64 `json:"hits"`             // calls that found a free connection
	Misses   uint64 `json:"misses"`           // calls that had to connect
	Waits    uint64 `json:"waits"`            // calls that got a connection after waiting for it
	Timeouts uint64 `json:"timeouts"`         // calls that waited for one in vain
	Stale    uint64 `json:"stale"`            // connections that were found dead or too old
	Total    int    `json:"connections"`      // all of them
	Idle     int    `json:"connections_idle"` // those that nobody uses now
}

// PoolStats returns what client's pools have done so far. It asks no server, but
// in a cluster that has never been reached: whoever must not wait then asks it
// only once the cluster has been Up.
func PoolStats(client Client) Pool {
	s := client.PoolStats()
	return Pool{
		Hits:     uint64(s.Hits),
		Misses:   uint64(s.Misses),
		Waits:    uint64(s.WaitCount),
		Timeouts: uint64(s.Timeouts),
		Stale:    uint64(s.StaleConns),
		Total:    int(s.TotalConns),
		Idle:     int(s.IdleConns),
	}
}

// InFlight is how many calls a failover.Switch should let client's servers have
// at once: twice what a pool holds, so that whoever is next already waits at the
// pool, in a cluster four times what a node's does.
func InFlight(client Client) int {
	switch c := client.(type) {
	case *redis.Client:
		return 2 * c.Options().PoolSize
	case *redis.ClusterClient:
		return 4 * c.Options().PoolSize
	}
	return 0 // there is no other; 0 is the Switch's own
}
