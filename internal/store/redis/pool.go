package redis

import "github.com/redis/go-redis/v9"

// Pool is the state of a client's connection pools, summed over all nodes. The first five only
// grow, unless a cluster loses a node.
type Pool struct {
	Hits     uint64 `json:"hits"`             // calls that found a free connection
	Misses   uint64 `json:"misses"`           // calls that had to connect
	Waits    uint64 `json:"waits"`            // calls that waited for a connection and got one
	Timeouts uint64 `json:"timeouts"`         // calls that waited for a connection and got none
	Stale    uint64 `json:"stale"`            // connections found dead or too old
	Total    int    `json:"connections"`      // open connections
	Idle     int    `json:"connections_idle"` // open connections not in use
}

// PoolStats returns the state of client's pools. It queries no server, except for a cluster that
// was never reached: a caller that must not wait calls it only after the cluster has been Up.
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

// InFlight is how many concurrent calls a failover.Switch should allow to client's servers: twice
// the size of a pool, so that the next call already waits at the pool; in a cluster four times the
// size of a node's pool.
func InFlight(client Client) int {
	switch c := client.(type) {
	case *redis.Client:
		return 2 * c.Options().PoolSize
	case *redis.ClusterClient:
		return 4 * c.Options().PoolSize
	}
	return 0 // there is no other type; 0 is the Switch's default
}
