package redis_test

import (
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

// failoverTime is how long an election may take on a busy machine.
const failoverTime = 20 * time.Second

// elected is a topology that elects another primary when it loses one.
type elected struct {
	url     string
	lose    func() *env.RedisServer // and returns it
	primary func() *env.RedisServer
}

// TestAnotherPrimaryIsElected loses a primary under load. No call fails, and the gateway finds the
// new one.
func TestAnotherPrimaryIsElected(t *testing.T) {
	t.Parallel()
	cluster := func(t *testing.T, slot int, lose func(*env.ClusterSet) *env.RedisServer) elected {
		c := env.Cluster(t)
		return elected{c.URL, func() *env.RedisServer { return lose(c) }, func() *env.RedisServer { return c.Primary(slot) }}
	}
	for _, tt := range []struct {
		name string
		open func(t *testing.T) elected
	}{
		{"a primary of a cluster is killed", func(t *testing.T) elected {
			return cluster(t, 0, func(c *env.ClusterSet) *env.RedisServer { return c.KillPrimary(0) })
		}},
		{"a primary of a cluster hangs for good", func(t *testing.T) elected {
			return cluster(t, 16383, func(c *env.ClusterSet) *env.RedisServer {
				frozen := c.Primary(16383)
				frozen.Stop()
				return frozen
			})
		}},
		{"the primary of a Sentinel is killed", func(t *testing.T) elected {
			set := env.Sentinel(t)
			return elected{set.URL, set.KillPrimary, set.Primary}
		}},
		// The gateway finds the new primary through the Sentinels that the first one has named.
		{"the primary is killed and the Sentinel in use hangs", func(t *testing.T) elected {
			set := env.Sentinel(t)
			lose := func() *env.RedisServer {
				set.Sentinels[0].Stop()
				return set.KillPrimary()
			}
			return elected{"redis+sentinel://" + set.Sentinels[0].Addr + "/main", lose, set.Primary}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := tt.open(t)
			g := newGateway(t, redis.Config{URL: e.url, Budget: callBudget})
			g.mustBecome(t, failover.Up)
			l := newLoad(t, g)
			time.Sleep(300 * time.Millisecond)
			since := g.Status().Generation
			lost := e.lose()
			g.mustReturn(t, since, failoverTime)
			l.end(t)
			if e.primary() == lost {
				t.Error("the primary has not changed")
			}
		})
	}
}
