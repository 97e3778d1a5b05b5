package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/test/drill"
	"github.com/jewgo/gateway/test/env"
)

// A primary dies under load, with nobody to help: whoever takes its place is
// found, and until then everything goes on from memory.
func TestPrimaryLostUnderLoad(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		start func(t *testing.T) (url string, kill func())
	}{
		{"Sentinel", func(t *testing.T) (string, func()) {
			s := env.Sentinel(t)
			return s.URL, func() { s.KillPrimary() }
		}},
		{"Cluster", func(t *testing.T) (string, func()) {
			c := env.Cluster(t)
			return c.URL, func() { c.KillPrimary(0) }
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			url, kill := tc.start(t)
			g := startJewGo(t, url)
			g.readyz(t, "ok")
			const length, seed = 30 * time.Second, 20250911
			t.Logf("seed %d", seed)
			mix := drill.NewMix([]string{g.base}, g.login("198.51.100.60"), seed)
			var before, after tally
			killed := false
			begin := time.Now()
			for r := range vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.MaxWorkers(100)).Attack(mix.Target, vegeta.Rate{Freq: 50, Per: time.Second}, length, tc.name) {
				if !killed && time.Since(begin) > length/3 {
					kill()
					killed = true
				}
				if killed {
					after.add(r)
				} else {
					before.add(r)
				}
			}
			t.Logf("%d requests, %d hits; after the primary's death %d requests, %d hits", before.total, before.hits, after.total, after.hits)
			if len(before.bad) > 0 || len(after.bad) > 0 || after.total < 900 {
				t.Errorf("failures %v %v; %d requests after the primary's death", before.bad, after.bad, after.total)
			}
			g.readyz(t, "ok") // by the new primary
		})
	}
}

// JewGo's variables, as its deployments set them, take the gateway with JewGo's
// policy to the Redis that they name: it is up, and a request is counted there.
func TestJewGoVariablesNameTheRedis(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		start func(t *testing.T) (env []string, look []string) // look: redis-cli's arguments for each server that may count
	}{
		{"REDIS_URL", func(t *testing.T) ([]string, []string) {
			s := env.Redis(t)
			return []string{"REDIS_URL=" + s.URL}, []string{cli(s.Addr)}
		}},
		{"REDIS_HOST with a password and a database", func(t *testing.T) ([]string, []string) {
			s := env.Redis(t, "--requirepass", "p@ss/word")
			return append(hostVariables(t, s.Addr), "REDIS_DB=3", "REDIS_PASSWORD=p@ss/word"), []string{cli(s.Addr) + " -n 3 -a p@ss/word"}
		}},
		{"REDIS_HOST with REDIS_SSL", func(t *testing.T) ([]string, []string) {
			s := env.RedisTLS(t, "--tls-auth-clients", "no", "--requirepass", "p")
			env := append(hostVariables(t, s.Addr), "REDIS_SSL=true", "REDIS_PASSWORD=p", "SSL_CERT_FILE="+s.Client.CA)
			return env, []string{cli(s.Addr) + " -a p --tls --cacert " + s.Client.CA}
		}},
		{"REDIS_SENTINEL_HOSTS", func(t *testing.T) ([]string, []string) {
			s := env.Sentinel(t)
			env := []string{"REDIS_SENTINEL_HOSTS=" + joinAddrs(s.Sentinels), "REDIS_SENTINEL_SERVICE=main", "REDIS_DB=1"}
			return env, []string{cli(s.Primary().Addr) + " -n 1"}
		}},
		{"REDIS_CLUSTER_HOSTS", func(t *testing.T) ([]string, []string) {
			c := env.Cluster(t)
			var look []string
			for _, primary := range c.Nodes[:3] {
				look = append(look, cli(primary.Addr))
			}
			return []string{"REDIS_CLUSTER_HOSTS=" + joinAddrs(c.Nodes[:2])}, look
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env, look := tc.start(t)
			g := startJewGoPolicy(t, env)
			g.verbose(t, "\n[+] redis: up since ")
			counted := func() (keys string) {
				for _, l := range look {
					keys += shell(t, t.TempDir(), l+" --scan --pattern 'rate:*'")
				}
				return keys
			}
			if keys := counted(); keys != "" {
				t.Fatalf("before any request there are %s", keys)
			}
			if a := g.get("/api/v5/restaurants"); a.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", a.Status, a.body)
			}
			if keys := counted(); strings.Count(keys, "\n") != 2 || !strings.Contains(keys, "rate:anonymous|") || !strings.Contains(keys, "rate:hourly|") {
				t.Errorf("after a request of an anonymous client there are %q", keys)
			}
			if a := g.get(g.admin + "/readyz"); !strings.HasPrefix(a.body, "ok") {
				t.Errorf("readyz: %s", a.body)
			}
		})
	}
}

// startJewGoPolicy serves configs/gateway.yaml in front of a backend that answers
// everything, in an environment whose only word about Redis is env.
func startJewGoPolicy(t *testing.T, env []string) *gatewayProcess {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") }))
	t.Cleanup(backend.Close)
	text, err := os.ReadFile("../../configs/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	here, there := policyFolder(t)
	writePolicy(t, filepath.Join(here, "gateway.yaml"), string(text))
	own(t, here)
	// An empty variable counts as one that is not set.
	unset := []string{"REDIS_URL=", "REDIS_HOST=", "REDIS_PORT=", "REDIS_SENTINEL_HOSTS=", "REDIS_CLUSTER_HOSTS=", "SESSION_REDIS=", "CACHE_TYPE=", "CACHE_REDIS_URL="}
	env = append(append(unset, "UPSTREAM_URL="+backend.URL, "GATEWAY_DATA_DIR=./data", "GATEWAY_COOKIE_NAME=gw", "GATEWAY_COOKIE_SECURE=false"), env...)
	return start(t, env, "run", "--config", filepath.Join(there, "gateway.yaml"))
}

func hostVariables(t *testing.T, addr string) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"REDIS_HOST=" + host, "REDIS_PORT=" + port}
}

func cli(addr string) string {
	host, port, _ := strings.Cut(addr, ":")
	return "redis-cli -e --no-auth-warning -h " + host + " -p " + port
}

func joinAddrs(servers []*env.RedisServer) string {
	all := make([]string, len(servers))
	for i, s := range servers {
		all[i] = s.Addr
	}
	return strings.Join(all, ",")
}
