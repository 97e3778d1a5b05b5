package redisdb

// Pool is what the connection pools of a client have done and hold, all nodes
// together. The first five only grow, but where a cluster loses a node.
type Pool struct {
	Hits     uint64 // calls that found a free connection
	Misses   uint64 // calls that had to connect
	Waits    uint64 // calls that got a connection after waiting for it
	Timeouts uint64 // calls that waited for one in vain
	Stale    uint64 // connections that were found dead or too old
	Total    int    // connections
	Idle     int    // connections that nobody uses now
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
