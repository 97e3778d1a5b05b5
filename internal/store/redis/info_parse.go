package redis

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// fields are the fields of a reply to INFO.
type fields map[string]string

func parseInfo(text string) fields {
	f := fields{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			f[name] = value
		}
	}
	return f
}

// has reports whether a field, and so its section of the reply, is present.
func (f fields) has(name string) bool { _, ok := f[name]; return ok }

// number returns a field's value, 0 if it is absent.
func (f fields) number(name string) int64 {
	n, _ := strconv.ParseInt(f[name], 10, 64)
	return n
}

// server fills s from the reply.
func (f fields) server(s *Server) {
	s.RunID, s.Version, s.Role = f["run_id"], f["redis_version"], f["role"]
	if f.has("uptime_in_seconds") {
		up := f.number("uptime_in_seconds")
		s.UptimeSeconds = &up
	}
	s.ReadOnly = f["role"] == "slave" && f["slave_read_only"] != "0"
	if f.has("connected_clients") {
		s.Clients = &Clients{f.number("connected_clients"), f.number("blocked_clients")}
	}
	if f.has("used_memory") {
		ratio, _ := strconv.ParseFloat(f["mem_fragmentation_ratio"], 64) // 0: not reported
		s.Memory = &Memory{
			UsedBytes: f.number("used_memory"), PeakBytes: f.number("used_memory_peak"), RSSBytes: f.number("used_memory_rss"),
			MaxBytes: f.number("maxmemory"), Policy: f["maxmemory_policy"], Fragmentation: ratio,
		}
	}
	if f.has("total_commands_processed") {
		s.Stats = &Stats{
			Commands: f.number("total_commands_processed"), OpsPerSecond: f.number("instantaneous_ops_per_sec"),
			Hits: f.number("keyspace_hits"), Misses: f.number("keyspace_misses"),
			Expired: f.number("expired_keys"), Evicted: f.number("evicted_keys"),
		}
		s.Stats.rate()
	}
	if f.has("aof_enabled") {
		s.Persistence = &Persistence{
			RDBLastSave: f.number("rdb_last_save_time"), RDBLastStatus: f["rdb_last_bgsave_status"],
			RDBChanges: f.number("rdb_changes_since_last_save"), AOF: f["aof_enabled"] == "1", AOFLastWrite: f["aof_last_write_status"],
		}
	}
	for name, value := range f {
		db, isDB := strings.CutPrefix(name, "db")
		if _, err := strconv.ParseUint(db, 10, 32); !isDB || err != nil {
			continue
		}
		if s.Keys == nil {
			s.Keys = map[string]int64{}
		}
		count, _, _ := strings.Cut(strings.TrimPrefix(value, "keys="), ",")
		s.Keys[name], _ = strconv.ParseInt(count, 10, 64)
	}
}

// kinds are the gateway's keys by prefix.
var kinds = []struct {
	prefix string
	count  func(*KeyCounts) *int64
}{
	{"rate:", func(k *KeyCounts) *int64 { return &k.Limits }},
	{sessionPrefix, func(k *KeyCounts) *int64 { return &k.Sessions }},
	{cachePrefix, func(k *KeyCounts) *int64 { return &k.Cache }},
	{"gw:{", func(k *KeyCounts) *int64 { return &k.Gateway }},
}

// add counts keys.
func (k *KeyCounts) add(keys []string) {
	k.Looked += int64(len(keys))
	for _, key := range keys {
		*k.kind(key)++
	}
}

// weigh counts the responses among keys, and their bytes.
func (k *KeyCounts) weigh(ctx context.Context, node *redis.Client, keys []string) error {
	keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		return !strings.HasPrefix(key, cachePrefix) || !strings.Contains(key, variantInfix)
	})
	if len(keys) == 0 {
		return nil
	}
	lengths, err := pipelined(ctx, node, keys, func(p redis.Pipeliner, key string) *redis.IntCmd { return p.StrLen(ctx, key) })
	for _, n := range lengths {
		k.Responses++
		k.ResponseBytes += n.Val()
	}
	return err
}

func (k *KeyCounts) kind(key string) *int64 {
	if strings.HasPrefix(key, "gw:{") && strings.HasSuffix(key, "}:revoked") {
		return &k.Revocations
	}
	for _, kind := range kinds {
		if strings.HasPrefix(key, kind.prefix) {
			return kind.count(k)
		}
	}
	return &k.Others
}
