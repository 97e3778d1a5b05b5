package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

const redisPolicy = smallPolicy + `
redis: {url: %q}
cache: {redis_url: %q}
`

// startOnRedis serves a small policy on two Redis, the second for the cache.
func startOnRedis(t *testing.T, url, cacheURL string) *gatewayProcess {
	t.Helper()
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })
	// startSmall fills the upstream in; the policy keeps the verb for it.
	text := strings.Replace(redisPolicy, "%q", "%%[1]q", 1)
	g, _ := startSmall(t, hello, fmt.Sprintf(text, url, cacheURL))
	return g
}

// shownRedis is what the tests read of /v1/redis.
type shownRedis struct {
	Name   string
	Serves []string
	Status struct {
		State, Since, Reason string
		Counts               struct{ Trips int }
	}
	Pool     *struct{ Connections int }
	Warnings []string
	Info     *struct {
		Mode    string
		Servers []struct {
			Version string
			Memory  struct {
				UsedBytes int64 `json:"used_bytes"`
			}
		}
		Probe struct{ OK bool }
	}
	Error string
}

func (g *gatewayProcess) redis(t *testing.T) []shownRedis {
	t.Helper()
	start := time.Now()
	a := g.get(g.admin + "/v1/redis")
	if took := time.Since(start); a.StatusCode != http.StatusOK || took > 10*time.Second { // 2 s and a busy machine
		t.Fatalf("%s after %v\n%s", a.Status, took, a.body)
	}
	if strings.Contains(a.body, "hush") {
		t.Errorf("the page holds the password:\n%s", a.body)
	}
	var v struct{ Redis []shownRedis }
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v\n%s", err, a.body)
	}
	return v.Redis
}

// verbose waits until /readyz?verbose has all parts.
func (g *gatewayProcess) verbose(t *testing.T, parts ...string) {
	t.Helper()
	env.Eventually(t, 10*time.Second, func() error {
		a := g.get(g.admin + "/readyz?verbose")
		for _, part := range parts {
			if !strings.Contains(a.body, part) {
				return fmt.Errorf("no %q in\n%s", part, a.body)
			}
		}
		return nil
	})
}

func TestEndToEndHealthOfRedis(t *testing.T) {
	t.Parallel()
	server := env.Redis(t, "--requirepass", "hush", "--maxmemory-policy", "allkeys-lru")
	_, port, _ := strings.Cut(server.Addr, ":")
	g := startOnRedis(t, "redis://:hush@"+server.Addr, env.Redis(t, "--maxmemory-policy", "allkeys-lru").URL)
	g.verbose(t, "ok\n", "[+] redis: up since ", "    limits: counted here, what that admits decided by Redis\n", "    sessions: the cookie, records in Redis",
		"[!] redis: no persistence", "[!] redis: maxmemory-policy allkeys-lru", "[+] cache redis: up since ", "    cache: memory, then Redis\n")
	if a := g.get(g.admin + "/readyz?verbose"); strings.Contains(a.body, "[!] cache redis") {
		t.Errorf("a warning for a cache that may be forgotten:\n%s", a.body)
	}
	all := g.redis(t)
	if len(all) != 2 || all[0].Name != "redis" || all[1].Name != "cache redis" {
		t.Fatalf("%+v", all)
	}
	for i, r := range all {
		if r.Status.State != "up" || r.Error != "" || r.Pool == nil || r.Pool.Connections == 0 || r.Info.Mode != "standalone" || r.Info.Servers[0].Version == "" || !r.Info.Probe.OK {
			t.Errorf("%+v", r)
		}
		if want := []int{2, 0}[i]; len(r.Warnings) != want {
			t.Errorf("%s: %d warnings, want %d: %q", r.Name, len(r.Warnings), want, r.Warnings)
		}
	}
	numbers := g.get(g.admin + "/metrics").body
	for _, want := range []string{
		`gateway_redis_warnings{redis="redis"} 2`, `gateway_redis_warnings{redis="cache redis"} 0`, `gateway_redis_trips_total{redis="redis"} 0`,
		`gateway_redis_call_duration_seconds_count{redis="redis"} `, `gateway_redis_pool_connections{redis="redis",use="idle"} `, `gateway_redis_state{redis="redis"} 2`,
	} {
		if !strings.Contains(numbers, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}

	// A Redis that hangs holds the page for a moment, and the other is shown all
	// the same. What has been mended since is seen once it is back.
	for _, setting := range []string{"maxmemory-policy noeviction", "appendonly yes"} {
		shell(t, t.TempDir(), "redis-cli -e --no-auth-warning -a hush -p "+port+" config set "+setting)
	}
	server.Stop()
	g.verbose(t, "degraded\n", "[~] redis: down since ", "    limits: counted here\n", "    sessions: the cookie, records in memory\n", "[!] redis: no persistence", "    cache: memory, then Redis\n")
	if all = g.redis(t); all[0].Status.State != "down" || all[0].Status.Reason == "" || all[0].Error == "" || all[0].Info != nil || len(all[0].Warnings) != 2 || all[1].Info == nil {
		t.Errorf("%+v", all)
	}
	server.Cont()
	g.readyz(t, "ok")
	env.Eventually(t, env.Patience, func() error {
		if a := g.get(g.admin + "/readyz?verbose"); strings.Contains(a.body, "[!]") {
			return fmt.Errorf("old warnings:\n%s", a.body)
		}
		return nil
	})
	server.Kill()
	g.readyz(t, "degraded")
	if all = g.redis(t); all[0].Status.State != "down" || all[0].Error == "" || all[0].Pool == nil || len(all[0].Warnings) != 0 {
		t.Errorf("%+v", all[0])
	}
	if !strings.Contains(g.get(g.admin+"/metrics").body, `gateway_redis_trips_total{redis="redis"} 2`) {
		t.Error("the trips were not counted")
	}
}

// Without a Redis the page is there, and empty.
func TestViewWithoutRedis(t *testing.T) {
	t.Parallel()
	g := startOnRedis(t, "", "")
	if all := g.redis(t); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	if a := g.get(g.admin + "/v1/redis"); !strings.HasPrefix(a.body, "{\n  \"redis\": [],\n  \"journal\": {\n    \"state\": \"ok\",") {
		t.Errorf("%s", a.body)
	}
	g.verbose(t, "ok\n", "[+] redis: not configured, local memory serves\n")
}

// Responses alone would fill Redis several times over. Limits and sessions, which
// need it, notice nothing.
func TestResponsesDoNotFillRedis(t *testing.T) {
	t.Parallel()
	const most = 24 << 20
	server := env.Redis(t, "--maxmemory", fmt.Sprint(most), "--maxmemory-policy", "noeviction")
	body := strings.Repeat("x", 232<<10)
	large := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/jpeg") // which is not compressed
		_, _ = w.Write([]byte(body))
	})
	g, _ := startSmall(t, large, fmt.Sprintf(`
version: 1
redis: {url: %q, budget: 500ms}
upstreams: {app: {targets: [%%q]}}
limits: {all: {key: client_ip, rate: 100000/s}}
routes: [{name: all, match: {path: "/{rest...}"}, upstream: app, limits: [all], cache: {ttl: 300s}}]
`, server.URL))
	g.stderr.await(t, "redis is in use")
	page := 0
	env.Eventually(t, 30*time.Second, func() error {
		for range 10 {
			page++
			if a := g.get(fmt.Sprintf("/list?page=%d", page)); a.StatusCode != http.StatusOK {
				t.Fatal(a.Status)
			}
		}
		if a := g.get(g.admin + "/readyz?verbose"); !strings.Contains(a.body, "responses are not written: memory is at ") {
			return fmt.Errorf("nothing is said:\n%s", a.body)
		}
		return nil
	})
	v := g.redis(t)[0]
	if used := v.Info.Servers[0].Memory.UsedBytes; v.Status.State != "up" || v.Status.Counts.Trips != 0 || used < most/2 || used > most*9/10 {
		t.Errorf("state %+v, %d of %d bytes", v.Status, used, most)
	}
}
