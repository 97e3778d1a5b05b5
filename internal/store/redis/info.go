package redis

// Info is what Redis says of itself. What the user may not ask for, or a server
// does not tell, is left out, and Denied names it.
type Info struct {
	Mode    string     `json:"mode"`                   // standalone, sentinel or cluster
	Servers []Server   `json:"servers"`                // of a cluster every primary
	Sum     *Numbers   `json:"sum,omitempty"`          // over several servers
	ByKind  *KeyCounts `json:"keys_by_kind,omitempty"` // the gateway's keys, all servers together
	Probe   *Try       `json:"probe,omitempty"`
	Denied  []string   `json:"denied,omitempty"` // commands that the user may not give
}

// Server is one server.
type Server struct {
	Address       string `json:"address,omitempty"` // behind Sentinels only they know it
	RunID         string `json:"run_id,omitempty"`
	Version       string `json:"version,omitempty"`
	Role          string `json:"role,omitempty"` // master or slave, in Redis's words
	ReadOnly      bool   `json:"read_only,omitempty"`
	UptimeSeconds *int64 `json:"uptime_seconds,omitempty"`
	Numbers
	Keys        map[string]int64 `json:"keys,omitempty"` // by database: db0, …
	Persistence *Persistence     `json:"persistence,omitempty"`
	Error       string           `json:"error,omitempty"` // why nothing is known
}

// Numbers can be summed up over servers.
type Numbers struct {
	Clients *Clients `json:"clients,omitempty"`
	Memory  *Memory  `json:"memory,omitempty"`
	Stats   *Stats   `json:"stats,omitempty"`
}

// Clients are connections.
type Clients struct {
	Connected int64 `json:"connected"`
	Blocked   int64 `json:"blocked"` // in calls such as BLPOP
}

// Memory is what a server takes and may take.
type Memory struct {
	UsedBytes     int64   `json:"used_bytes"`
	PeakBytes     int64   `json:"peak_bytes"`
	RSSBytes      int64   `json:"rss_bytes"`        // by the system's count
	MaxBytes      int64   `json:"max_bytes"`        // 0: no limit
	Policy        string  `json:"policy,omitempty"` // what is evicted at the limit
	Fragmentation float64 `json:"fragmentation"`    // rss to used
}

// Stats are counted since the server's start, but for the operations a second.
type Stats struct {
	Commands     int64    `json:"commands"`
	OpsPerSecond int64    `json:"ops_per_second"`
	Hits         int64    `json:"hits"`
	Misses       int64    `json:"misses"`
	HitRate      *float64 `json:"hit_rate,omitempty"` // 0 to 1; absent before the first look-up
	Expired      int64    `json:"expired"`
	Evicted      int64    `json:"evicted"`
}

// Persistence is what outlives the server's process.
type Persistence struct {
	// RDB says whether snapshots are made by themselves; absent where the user
	// may not ask for the configuration, the only place that tells.
	RDB           *bool  `json:"rdb_enabled,omitempty"`
	RDBLastSave   int64  `json:"rdb_last_save_unix_seconds"`
	RDBLastStatus string `json:"rdb_last_status"` // ok or err
	RDBChanges    int64  `json:"rdb_changes_since_last_save"`
	AOF           bool   `json:"aof_enabled"`
	AOFLastWrite  string `json:"aof_last_write_status"` // ok or err
}

// KeyCounts counts keys of the client's database by what they hold.
type KeyCounts struct {
	Looked   int64 `json:"keys_looked_at"` // a key may be seen twice while Redis resizes its table
	Complete bool  `json:"complete"`       // else the counts are those of a sample

	Limits      int64 `json:"limits"`      // rate:…
	Sessions    int64 `json:"sessions"`    // gw:{s:…}
	Revocations int64 `json:"revocations"` // gw:{…}:revoked
	Cache       int64 `json:"cache"`       // gw:{c:…}:…
	Gateway     int64 `json:"gateway"`     // gw:{epoch} and the like
	Others      int64 `json:"others"`      // not the gateway's
}

// Try is a key that was set, read and deleted in one round trip.
type Try struct {
	OK               bool    `json:"ok"`
	RoundTripSeconds float64 `json:"round_trip_seconds"`
	Error            string  `json:"error,omitempty"`
}

// sum adds up what servers say; nil without several.
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
