package redis_test

import (
	"fmt"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

func TestSentinelStores(t *testing.T) {
	t.Parallel()
	set := env.Sentinel(t)
	stores(t, restrict(t, set.URL, "", set.Servers...), set.URL)
	mustChargeBy(t, map[string]string{
		"REDIS_SENTINEL_HOSTS": hosts(set.Sentinels...), "REDIS_SENTINEL_SERVICE": "main", "REDIS_DB": "1",
	})
	if keys := len(scan(t, set.Primary().Addr, 1)); keys == 0 {
		t.Error("REDIS_DB: nothing is in that database")
	}
}

// scan lists a server's keys, with a client without the gateway's bounds.
func scan(t *testing.T, addr string, db int) []string {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: addr, DB: db})
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestSentinelLeavesAReplica promotes another server while the old primary lives and still answers
// PING and reads: the gateway must leave it.
func TestSentinelLeavesAReplica(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		told bool // its Sentinel reports it; false: only READONLY does
	}{
		{"its Sentinel reports it", true},
		{"its Sentinel hangs", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := env.Sentinel(t)
			g := newGateway(t, redis.Config{URL: "redis+sentinel://" + set.Sentinels[0].Addr + "/main", Budget: callBudget})
			g.mustBecome(t, failover.Up)
			l := newLoad(t, g)
			since := g.Status().Generation
			if !tt.told {
				set.Sentinels[0].Stop()
			}
			old := set.FailOver()
			if !tt.told {
				// A Sentinel does the same, but seconds later.
				admin(t, old, "REPLICAOF "+strings.Replace(set.Primary().Addr, ":", " ", 1))
			}
			g.mustReturn(t, since, failoverTime)
			l.end(t)
			admin(t, set.Primary(), "SET gw:here 1")
			env.Eventually(t, failoverTime, func() error {
				for range 20 { // on any connection of the pool
					if v, err := g.client.Get(t.Context(), "gw:here").Result(); v != "1" {
						return fmt.Errorf("the gateway reads from another server: %q, %w", v, err)
					}
				}
				return nil
			})
		})
	}
}

func TestSentinelCredentials(t *testing.T) {
	t.Parallel()
	set := env.Sentinel(t)
	sentinel := set.Sentinels[0]
	admin(t, sentinel, "ACL SETUSER gateway on >s3cret +@all", "ACL SETUSER default off")
	base := "redis+sentinel://" + sentinel.Addr + "/main"
	for _, tt := range []struct{ name, query, want string }{
		{"no password, but one is required", "", "NOAUTH"},
		{"a wrong password", "?sentinel_user=gateway&sentinel_password=hunter2", "WRONGPASS"},
		{"the right ones", "?sentinel_user=gateway&sentinel_password=s3cret", ""},
	} {
		g := newGateway(t, redis.Config{URL: base + tt.query, Budget: callBudget})
		if tt.want == "" {
			g.mustServe(t)
			continue
		}
		reason := g.mustBecome(t, failover.Down)
		if reason == nil || !strings.Contains(reason.Error(), tt.want) || strings.Contains(reason.Error(), "hunter2") {
			t.Errorf("%s: %v", tt.name, reason)
		}
	}
}
