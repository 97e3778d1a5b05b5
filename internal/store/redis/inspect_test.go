package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

// inspect queries a Redis that must answer.
func inspect(t *testing.T, client redis.Client) redis.Info {
	t.Helper()
	info, err := redis.Inspect(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestInspect(t *testing.T) {
	t.Parallel()
	server := env.Redis(t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
	client := openFor(t, server.URL)
	for _, key := range []string{
		"rate:a", "rate:b", "gw:{s:k}", "gw:{s:k}:revoked", "gw:{u:x}:revoked",
		"gw:{c:k}:i", "gw:{c:k}:v:h", "gw:{c:k}:v:g", "gw:{epoch}:purge:7:a:1", "gw:{epoch}", "jewgo_session:1", "rate",
	} {
		admin(t, server, "SET "+key+" 1")
	}
	admin(t, server, "GET rate:a", "GET rate:b", "GET rate:c", "GET rate:d", "SET gone 1 PX 1")
	time.Sleep(10 * time.Millisecond)
	admin(t, server, "GET gone")
	info := inspect(t, client)
	if info.Mode != "standalone" || len(info.Servers) != 1 || info.Sum != nil || len(info.Denied) != 0 {
		t.Fatalf("%+v", info)
	}
	s := info.Servers[0]
	if s.Address != server.Addr || s.Role != "master" || s.ReadOnly || len(s.RunID) != 40 || !strings.Contains(s.Version, ".") || s.Error != "" {
		t.Errorf("server: %+v", s)
	}
	if s.Clients == nil || s.Clients.Connected == 0 || s.Clients.Blocked != 0 {
		t.Errorf("clients: %+v", s.Clients)
	}
	if m := s.Memory; m == nil || m.UsedBytes == 0 || m.PeakBytes < m.UsedBytes/2 || m.RSSBytes == 0 || m.MaxBytes != 64<<20 || m.Policy != "allkeys-lru" || m.Fragmentation == 0 {
		t.Errorf("memory: %+v", m)
	}
	// Hits: a, b; misses: c, d, gone.
	if st := s.Stats; st == nil || st.Commands < 15 || st.Hits != 2 || st.Misses != 3 || st.HitRate == nil || *st.HitRate != 0.4 || st.Expired != 1 || st.Evicted != 0 {
		t.Errorf("stats: %+v", st)
	}
	if s.Keys["db0"] != 12 || len(s.Keys) != 1 {
		t.Errorf("keys: %v", s.Keys)
	}
	if p := s.Persistence; p == nil || p.RDB == nil || *p.RDB || p.AOF || p.RDBLastStatus != "ok" || p.RDBLastSave == 0 || p.RDBChanges < 12 {
		t.Errorf("persistence: %+v", p)
	}
	want := redis.KeyCounts{Keys: 12, Looked: 12, Complete: true, Limits: 2, Sessions: 1, Revocations: 2, Cache: 3, Responses: 2, ResponseBytes: 2, Gateway: 2, Others: 2}
	if info.ByKind == nil || *info.ByKind != want {
		t.Errorf("by kind: %+v", info.ByKind)
	}
	if p := info.Probe; p == nil || !p.OK || p.RoundTripSeconds <= 0 || p.Error != "" {
		t.Errorf("probe: %+v", p)
	}
	if keys, err := client.Keys(t.Context(), "gw:{try:*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("the probe left %v, %v", keys, err)
	}
	if less, err := redis.InspectServers(t.Context(), client); err != nil || less.Probe != nil || less.ByKind != nil || len(less.Servers) != 1 {
		t.Errorf("InspectServers: %+v, %v", less, err)
	}
}

// The JSON names include units.
func TestInfoInJSON(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	text, err := json.Marshal(inspect(t, openFor(t, server.URL)))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"mode":"standalone"`, `"uptime_seconds":`, `"connected":`, `"blocked":`, `"used_bytes":`, `"peak_bytes":`, `"max_bytes":0`, `"policy":"noeviction"`,
		`"fragmentation":`, `"commands":`, `"ops_per_second":`, `"hits":0`, `"misses":`, `"expired":0`, `"evicted":0`, `"keys_by_kind":{"keys":0,"keys_looked_at":0,"complete":true,`,
		`"rdb_enabled":false`, `"rdb_last_save_unix_seconds":`, `"aof_enabled":false`, `"round_trip_seconds":`,
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
}

func TestInspectLooksAtASample(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	client := openFor(t, server.URL)
	fill := `for i=1,40000 do redis.call('SET', (i % 4 == 0 and 'gw:{c:k}:v:' or 'rate:')..i, 1) end`
	if err := client.Eval(t.Context(), fill, nil).Err(); err != nil && err != goredis.Nil {
		t.Fatal(err)
	}
	if err := openFor(t, server.URL+"/1").Set(t.Context(), "elsewhere", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	k := inspect(t, client).ByKind
	if k == nil || k.Complete || k.Keys != 40_000 || k.Looked == 0 || k.Looked > 12_000 || k.Limits+k.Cache != k.Looked || k.Cache == 0 || k.Responses != k.Cache || k.ResponseBytes != k.Cache {
		t.Errorf("%+v", k)
	}
}

// What the user may not query is left out, and listed as denied.
func TestInspectWithoutPermission(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	for _, tc := range []struct {
		sentence, rules string
		denied          []string
		check           func(redis.Info) bool
	}{
		{"no server facts without INFO", "+@all -info", []string{"INFO"}, func(i redis.Info) bool {
			s := i.Servers[0]
			return s.Memory == nil && s.Stats == nil && s.Persistence == nil && i.ByKind != nil && i.Probe.OK
		}},
		{"snapshots are unknown without CONFIG", "+@all -config", []string{"CONFIG GET"}, func(i redis.Info) bool {
			return i.Servers[0].Persistence.RDB == nil && i.Servers[0].Memory != nil
		}},
		{"no keys by kind without SCAN", "+@all -scan", []string{"SCAN"}, func(i redis.Info) bool {
			return i.ByKind == nil && i.Servers[0].Memory != nil && i.Probe.OK
		}},
		{"a user with hardly any rights", "+ping", []string{"INFO", "SCAN"}, func(i redis.Info) bool {
			return !i.Probe.OK && strings.Contains(i.Probe.Error, "NOPERM")
		}},
	} {
		admin(t, server, "ACL SETUSER u reset on >secret ~* &* "+tc.rules)
		info := inspect(t, openFor(t, "redis://u:secret@"+server.Addr))
		if !slices.Equal(info.Denied, tc.denied) || !tc.check(info) {
			t.Errorf("%s: %+v", tc.sentence, info)
		}
		for _, w := range redis.Warnings(info, true) {
			if info.Servers[0].Persistence == nil || info.Servers[0].Persistence.RDB == nil {
				t.Errorf("%s: a warning about an unknown fact: %s", tc.sentence, w)
			}
		}
	}
}

func TestWarningsOfServers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sentence string
		args     []string
		then     func(t *testing.T, s *env.RedisServer)
		sessions bool
		want     []string // a part of each
	}{
		{"no warning with an AOF", []string{"--appendonly", "yes", "--maxmemory", "64mb"}, nil, true, nil},
		{"no warning with snapshots", []string{"--save", "3600 1"}, nil, true, nil},
		{"sessions without persistence", nil, nil, true, []string{"no persistence"}},
		{"responses need no persistence", nil, nil, false, nil},
		{"sessions may be evicted", []string{"--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"}, nil, true, []string{"maxmemory-policy allkeys-lru evicts sessions"}},
		{"sessions may be evicted by volatile policies too", []string{"--appendonly", "yes", "--maxmemory-policy", "volatile-lru"}, nil, true, []string{"maxmemory-policy volatile-lru evicts sessions"}},
		{"responses may be evicted", []string{"--maxmemory-policy", "allkeys-lfu"}, nil, false, nil},
		{"memory is nearly full", nil, func(t *testing.T, s *env.RedisServer) {
			admin(t, s, "SET big "+strings.Repeat("x", 8<<20))
			used := inspect(t, openFor(t, s.URL)).Servers[0].Memory.UsedBytes
			admin(t, s, fmt.Sprintf("CONFIG SET maxmemory %d", used+used/20))
		}, false, []string{"memory is at 9"}},
		{"a replica", nil, func(t *testing.T, s *env.RedisServer) { admin(t, s, "REPLICAOF 127.0.0.1 1") }, false, []string{"is a read-only replica"}},
		{"a save that failed", nil, failToSave, false, []string{"the last RDB save failed"}},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			t.Parallel()
			server := env.Redis(t, tc.args...)
			if tc.then != nil {
				tc.then(t, server)
			}
			mustWarn(t, redis.Warnings(inspect(t, openFor(t, server.URL)), tc.sessions), tc.want...)
		})
	}
}

// mustWarn checks that each warning contains the wanted part.
func mustWarn(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("warnings %q, want %q", got, want)
	}
	for i, part := range want {
		if !strings.Contains(got[i], part) {
			t.Errorf("warning %q, want %q", got[i], part)
		}
	}
}

// failToSave makes a save fail: a folder exists at the file's path.
func failToSave(t *testing.T, s *env.RedisServer) {
	t.Helper()
	client := openFor(t, s.URL)
	dir, err := client.ConfigGet(t.Context(), "dir").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir["dir"], "dump.rdb", "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	admin(t, s, "SET a 1", "BGSAVE")
	env.Eventually(t, recovery, func() error {
		if text := client.Info(t.Context(), "persistence").Val(); !strings.Contains(text, "rdb_last_bgsave_status:err") {
			return fmt.Errorf("the save did not fail:\n%s", text)
		}
		return nil
	})
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	one := func(s redis.Server) redis.Info { return redis.Info{Servers: []redis.Server{s}} }
	saved := func(p redis.Persistence) redis.Info { return one(redis.Server{Persistence: &p}) }
	used := func(u, of int64) redis.Info {
		return one(redis.Server{Numbers: redis.Numbers{Memory: &redis.Memory{UsedBytes: u, MaxBytes: of}}})
	}
	for _, tc := range []struct {
		sentence string
		info     redis.Info
		want     []string
	}{
		{"unknown facts cause no warnings", one(redis.Server{}), nil},
		{"Redis 6.0 is too old", one(redis.Server{Version: "6.0.16"}), []string{"Redis 6.0.16 is older than 6.2"}},
		{"so is 5", one(redis.Server{Version: "5.9.1"}), []string{"older"}},
		{"6.2 is not", one(redis.Server{Version: "6.2.0"}), nil},
		{"nor is 10.0", one(redis.Server{Version: "10.0"}), nil},
		{"a version in another format causes no warning", one(redis.Server{Version: "unstable"}), nil},
		{"neither snapshots nor a log", saved(redis.Persistence{RDB: &no}), []string{"no persistence"}},
		{"a log is enough", saved(redis.Persistence{RDB: &no, AOF: true}), nil},
		{"snapshots are enough", saved(redis.Persistence{RDB: &yes}), nil},
		{"snapshots unknown", saved(redis.Persistence{}), nil},
		{"a log that cannot be written", saved(redis.Persistence{AOF: true, AOFLastWrite: "err"}), []string{"AOF failed"}},
		{"memory at exactly nine tenths", used(90, 100), nil},
		{"memory above nine tenths", used(91, 100), []string{"memory is at 91 % of its limit of 100 bytes"}},
		{"no limit", used(1<<40, 0), nil},
		{"a replica that takes writes", one(redis.Server{Role: "slave"}), []string{"is a writable replica"}},
		{
			"with several servers the address is added",
			redis.Info{Servers: []redis.Server{{Address: "a:1"}, {Address: "b:2", Version: "5.0"}, {Address: "c:3", Error: "refused"}}},
			[]string{"(b:2)", "it does not answer: refused (c:3)"},
		},
		{"many are cut short", redis.Info{Servers: slices.Repeat([]redis.Server{{Version: "5.0"}}, 30)}, append(slices.Repeat([]string{"older"}, 20), "and 10 more")},
	} {
		t.Run(tc.sentence, func(t *testing.T) { mustWarn(t, redis.Warnings(tc.info, true), tc.want...) })
	}
}

// docs/redis.md has a row for every warning, with an ellipsis for variable parts, and no
// further rows.
func TestWarningsInDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, said := map[string]*regexp.Regexp{}, map[string]bool{}
	_, table, _ := strings.Cut(string(text), "<!-- warnings: begin -->")
	table, _, _ = strings.Cut(table, "<!-- end -->")
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1) {
		rows[row[1]] = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(row[1]), "…", ".+") + "$")
	}
	no := false
	for _, s := range []redis.Server{
		{Error: "refused"},
		{Role: "slave", ReadOnly: true, Version: "5.0.0", Persistence: &redis.Persistence{RDB: &no, RDBLastStatus: "err"}},
		{Role: "slave", Numbers: redis.Numbers{Memory: &redis.Memory{Policy: "allkeys-lru", UsedBytes: 99, MaxBytes: 100}}},
		{Persistence: &redis.Persistence{AOF: true, AOFLastWrite: "err"}},
	} {
		for _, w := range redis.Warnings(redis.Info{Servers: []redis.Server{s}}, true) {
			documented := false
			for row, pattern := range rows {
				if pattern.MatchString(w) {
					documented, said[row] = true, true
				}
			}
			if !documented {
				t.Errorf("docs/redis.md lacks the warning %q", w)
			}
		}
	}
	for row := range rows {
		if !said[row] {
			t.Errorf("nothing says %q", row)
		}
	}
}

// A Redis that is unavailable or hangs causes an error, in time, without the password.
func TestInspectRedisAway(t *testing.T) {
	t.Parallel()
	server := env.Redis(t, "--requirepass", "hush")
	client := openFor(t, "redis://:"+url.QueryEscape("hush")+"@"+server.Addr)
	inspect(t, client)
	away := func(t *testing.T) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := redis.Inspect(ctx, client)
		if took := time.Since(start); err == nil || took > soon || strings.Contains(redis.ErrorText(err), "hush") {
			t.Errorf("%v after %v", err, took)
		}
	}
	server.Stop()
	away(t)
	server.Cont()
	server.Kill()
	away(t)
	server.Restart(true)
	inspect(t, client)
	for name, raw := range map[string]string{"wrong": "redis://:secret@" + server.Addr, "none": "redis://" + server.Addr} {
		if _, err := redis.Inspect(t.Context(), openFor(t, raw)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s password: %v", name, err)
		}
	}
}

func TestInspectSentinel(t *testing.T) {
	t.Parallel()
	set := env.Sentinel(t)
	if info := inspect(t, openFor(t, set.URL)); info.Mode != "sentinel" || info.Servers[0].Role != "master" || info.Servers[0].Address != "" {
		t.Errorf("%+v", info)
	}
}

func TestInspectCluster(t *testing.T) {
	t.Parallel()
	cluster := env.Cluster(t)
	client, err := redis.Open(redis.Config{URL: cluster.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 60 {
		if err := client.Set(t.Context(), fmt.Sprintf("rate:%d", i), 1, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	info := inspect(t, client)
	if info.Mode != "cluster" || len(info.Servers) != 3 || info.Sum == nil || !info.Probe.OK {
		t.Fatalf("%+v", info)
	}
	var keys, memory int64
	for _, s := range info.Servers {
		if s.Role != "master" || s.Keys["db0"] == 0 {
			t.Errorf("%+v", s)
		}
		keys += s.Keys["db0"]
		memory += s.Memory.UsedBytes
	}
	if keys != 60 || info.ByKind.Limits != 60 || !info.ByKind.Complete || info.Sum.Memory.UsedBytes != memory || info.Sum.Memory.Fragmentation == 0 {
		t.Errorf("%d keys, %+v, %+v", keys, info.ByKind, info.Sum.Memory)
	}
	// A hanging server is reported; the others still answer.
	stopped := cluster.Nodes[0]
	stopped.Stop()
	defer stopped.Cont()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	info, err = redis.InspectServers(ctx, client)
	if err != nil || time.Since(start) > soon {
		t.Fatalf("%v after %v", err, time.Since(start))
	}
	silent := 0
	for _, s := range info.Servers {
		if s.Error != "" {
			silent++
		}
	}
	if silent != 1 || !strings.Contains(strings.Join(redis.Warnings(info, false), "\n"), "it does not answer") {
		t.Errorf("%+v", info)
	}
}

// Observe receives every command and pipeline, including failed ones.
func TestObserve(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	var calls int
	client, err := redis.Open(redis.Config{URL: server.URL, Observe: func(took time.Duration) {
		if took > 0 {
			calls++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Ping(t.Context())
	calls = 0 // ignore the handshake
	client.Ping(t.Context())
	_, _ = client.Pipelined(t.Context(), func(p goredis.Pipeliner) error { p.Get(t.Context(), "a"); p.Get(t.Context(), "b"); return nil })
	server.Kill()
	client.Ping(t.Context())
	if calls != 3 {
		t.Errorf("%d calls observed, want 3", calls)
	}
}
