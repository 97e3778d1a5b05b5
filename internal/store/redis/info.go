package redis

// Info is what Redis reports about itself. What the user may not query, or a server does not
// report, is left out; Denied names the refused commands.
type Info struct {
	Mode    string     `json:"mode"`                   // standalone, sentinel or cluster
	Servers []Server   `json:"servers"`                // in a cluster every primary
	Sum     *Numbers   `json:"sum,omitempty"`          // over several servers
	ByKind  *KeyCounts `json:"keys_by_kind,omitempty"` // the gateway's keys, over all servers
	Probe   *Try       `json:"probe,omitempty"`
	Denied  []string   `json:"denied,omitempty"` // commands that the user may not run
}

// Server is one server.
type Server struct {
	Address       string `json:"address,omitempty"` // absent behind Sentinels: only they know it
	RunID         string `json:"run_id,omitempty"`
	Version       string `json:"version,omitempty"`
	Role          string `json:"role,omitempty"` // master or slave, Redis's terms
	ReadOnly      bool   `json:"read_only,omitempty"`
	UptimeSeconds *int64 `json:"uptime_seconds,omitempty"`
	Numbers
	Keys        map[string]int64 `json:"keys,omitempty"` // by database: db0, …
	Persistence *Persistence     `json:"persistence,omitempty"`
	Error       string           `json:"error,omitempty"` // why the rest is missing
}

// Numbers are the parts that can be summed over servers.
type Numbers struct {
	Clients *Clients `json:"clients,omitempty"`
	Memory  *Memory  `json:"memory,omitempty"`
	Stats   *Stats   `json:"stats,omitempty"`
}

// Clients counts connections.
type Clients struct {
	Connected int64 `json:"connected"`
	Blocked   int64 `json:"blocked"` // in calls such as BLPOP
}

// Memory is a server's memory use and limit.
type Memory struct {
	UsedBytes     int64   `json:"used_bytes"`
	PeakBytes     int64   `json:"peak_bytes"`
	RSSBytes      int64   `json:"rss_bytes"`        // as the operating system counts
	MaxBytes      int64   `json:"max_bytes"`        // 0: no limit
	Policy        string  `json:"policy,omitempty"` // maxmemory-policy: what is evicted at the limit
	Fragmentation float64 `json:"fragmentation"`    // ratio of rss to used
}

// Stats are totals since the server's start, except OpsPerSecond.
type Stats struct {
	Commands     int64    `json:"commands"`
	OpsPerSecond int64    `json:"ops_per_second"`
	Hits         int64    `json:"hits"`
	Misses       int64    `json:"misses"`
	HitRate      *float64 `json:"hit_rate,omitempty"` // 0 to 1; absent before the first look-up
	Expired      int64    `json:"expired"`
	Evicted      int64    `json:"evicted"`
}

// Persistence says what survives a restart of the server.
type Persistence struct {
	// RDB says whether automatic snapshots are on. Only the configuration tells; absent if the user
	// may not read it.
	RDB           *bool  `json:"rdb_enabled,omitempty"`
	RDBLastSave   int64  `json:"rdb_last_save_unix_seconds"`
	RDBLastStatus string `json:"rdb_last_status"` // ok or err
	RDBChanges    int64  `json:"rdb_changes_since_last_save"`
	AOF           bool   `json:"aof_enabled"`
	AOFLastWrite  string `json:"aof_last_write_status"` // ok or err
}

// KeyCounts counts the keys of the client's database by kind.
type KeyCounts struct {
	Keys     int64 `json:"keys"`
	Looked   int64 `json:"keys_looked_at"` // a key may be seen twice while Redis resizes its table
	Complete bool  `json:"complete"`       // false: the counts are of a sample

	Limits        int64 `json:"limits"`         // rate:…
	Sessions      int64 `json:"sessions"`       // gw:{s:…}
	Revocations   int64 `json:"revocations"`    // gw:{…}:revoked
	Cache         int64 `json:"cache"`          // gw:{c:…}:…
	Responses     int64 `json:"responses"`      // of these, those that hold a response
	ResponseBytes int64 `json:"response_bytes"` // in them
	Gateway       int64 `json:"gateway"`        // gw:{epoch} and the like
	Others        int64 `json:"others"`         // not the gateway's
}

// Try is the result of setting, reading and deleting a key in one round trip.
type Try struct {
	OK               bool    `json:"ok"`
	RoundTripSeconds float64 `json:"round_trip_seconds"`
	Error            string  `json:"error,omitempty"`
}

// sum adds up the servers' numbers; nil if there are fewer than two.
func sum(servers []Server) *Numbers {
	if len(servers) < 2 {
		return nil
	}
	var clients Clients
	var memory Memory
	var stats Stats
	var total Numbers
	for _, s := range servers {
		if c := s.Clients; c != nil {
			total.Clients = &clients
			clients.Connected += c.Connected
			clients.Blocked += c.Blocked
		}
		if m := s.Memory; m != nil {
			total.Memory = &memory
			memory.UsedBytes += m.UsedBytes
			memory.PeakBytes += m.PeakBytes
			memory.RSSBytes += m.RSSBytes
			memory.MaxBytes += m.MaxBytes
		}
		if t := s.Stats; t != nil {
			total.Stats = &stats
			stats.Commands += t.Commands
			stats.OpsPerSecond += t.OpsPerSecond
			stats.Hits += t.Hits
			stats.Misses += t.Misses
			stats.Expired += t.Expired
			stats.Evicted += t.Evicted
		}
	}
	if memory.UsedBytes > 0 {
		memory.Fragmentation = float64(memory.RSSBytes) / float64(memory.UsedBytes)
	}
	stats.rate()
	return &total
}

// rate fills HitRate.
func (s *Stats) rate() {
	if n := s.Hits + s.Misses; n > 0 {
		rate := float64(s.Hits) / float64(n)
		s.HitRate = &rate
	}
}
