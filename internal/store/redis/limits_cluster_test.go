package redis_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/test/env"
)

// TestClusterLimits checks what differs if the keys are on several servers; the conformance suite
// runs on a cluster too.
func TestClusterLimits(t *testing.T) {
	t.Parallel()
	cluster := env.Cluster(t)
	client := openFor(t, cluster.URL)
	trips := &roundTrips{}
	client.AddHook(trips)
	limits := redis.NewLimits(client)
	keys := keysOfSlots(t, cluster)
	charge := func(key string, cost int) ratelimit.Charge {
		return ratelimit.Charge{Key: key, Quota: hourly(10), Cost: cost}
	}
	take := func(want string, all ...ratelimit.Charge) []gcra.Result {
		t.Helper()
		results, err := limits.Take(t.Context(), all, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i, r := range results {
			got += fmt.Sprintf("%v %d, ", r.Allowed, r.Remaining)
			if spent := all[i].Quota.Burst - r.Remaining + r.Extra; !about(r.ResetAfter, spent) {
				t.Errorf("%+v, with %d tokens spent", r, spent)
			}
		}
		if got != want {
			t.Errorf("%s want %s", got, want)
		}
		return results
	}
	sent := func(want ...string) {
		t.Helper()
		if got := trips.since(); !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	trips.since()
	a, b, c := charge(keys[0], 2), charge(keys[1], 3), charge(keys[2], 6)
	take("true 8, true 7, true 4, ", a, b, c)
	sent("pipeline", "pipeline") // the servers learn the script
	take("true 8, true 7, false 4, ", a, b, c)
	trips.since() // the servers learn the other script
	take("true 8, true 7, false 4, ", a, b, c)
	sent("pipeline", "pipeline")
	take("true 6, true 4, ", a, b)
	sent("pipeline")

	a.Extra, b.Shadow = 2, true
	take("true 6, true 4, false 4, ", a, b, c)
	if lease := take("true 4, ", a)[0]; lease.Extra != 2 {
		t.Errorf("%+v", lease)
	} else if err := limits.Return(t.Context(), []ratelimit.LeaseOf{
		{Key: keys[0], Lease: gcra.Lease{Quota: hourly(10), Tokens: 2, Ends: lease.ResetAfter}},
		{Key: keys[2], Lease: gcra.Lease{Quota: hourly(10), Tokens: 1, Ends: time.Hour}}, // charged since
	}); err != nil {
		t.Fatal(err)
	}
	b.Cost, c.Cost, a.Extra = 5, 4, 0
	take("true 2, false 4, true 0, ", a, b, c)
	trips.since()
	if err := limits.Refund(t.Context(), []ratelimit.Charge{a, c}); err != nil {
		t.Fatal(err)
	}
	sent("pipeline")
	take("true 4, true 4, true 4, ", charge(keys[0], 0), charge(keys[1], 0), charge(keys[2], 0))

	for range 2 { // a script is sent only to the server that does not know it
		admin(t, cluster.Primary(cluster.Slot("rate:"+keys[0])), "SCRIPT FLUSH")
		trips.since()
		if err := limits.Refund(t.Context(), []ratelimit.Charge{charge(keys[0], 1), charge(keys[1], 1)}); err != nil {
			t.Fatal(err)
		}
		sent("pipeline", "pipeline")
	}
	take("true 6, true 6, true 4, ", charge(keys[0], 0), charge(keys[1], 0), charge(keys[2], 0))
	if err := limits.Reset(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	take("true 10, true 10, true 10, ", charge(keys[0], 0), charge(keys[1], 0), charge(keys[2], 0))
	settling(t, emptyLimits(t, client))

	// Charges made by other servers beside a dead one are refunded.
	if err := limits.Reset(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	take("true 5, true 5, ", charge(keys[0], 5), charge(keys[1], 5))
	cluster.KillPrimary(cluster.Slot("rate:" + keys[2]))
	dead := charge(keys[2], 1)
	dead.Shadow = true // even then the outcome is unknown
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if results, err := limits.Take(ctx, []ratelimit.Charge{charge(keys[0], 1), dead, charge(keys[1], 1)}, nil); err == nil || len(results) != 0 {
		t.Errorf("with a dead server: %+v, %v", results, err)
	}
	for _, key := range keys[:2] {
		if n := used(t, limits, key); n != 5 {
			t.Errorf("%d tokens are gone beside the dead server, want 5", n)
		}
	}
}

// keysOfSlots returns three keys on three servers.
func keysOfSlots(t *testing.T, cluster *env.ClusterSet) (keys []string) {
	t.Helper()
	var taken []*env.RedisServer
	for i := 0; len(keys) < 3; i++ {
		key := fmt.Sprint("limit|", i)
		if primary := cluster.Primary(cluster.Slot("rate:" + key)); !slices.Contains(taken, primary) {
			keys, taken = append(keys, key), append(taken, primary)
		}
	}
	return keys
}
