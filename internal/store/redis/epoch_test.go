package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

// member is a gateway of a fleet: a Switch with a hook that counts its replays.
type member struct {
	*failover.Switch
	replays atomic.Int32
	planned atomic.Int64 // last time at which the barrier let it go Up, in Unix nanoseconds
}

// joinFleet starts a gateway with default times, except for those that a busy machine exceeds and
// for the backoff after faults that a test causes on purpose.
func joinFleet(t *testing.T, url string) *member {
	t.Helper()
	client := openFor(t, url)
	m, barrier := &member{}, redis.Barrier(client)
	m.Switch = failover.New(failover.Config{
		Probe: redis.Probe(client), Renew: redis.Renew(client), Classify: redis.Classify, Rejoining: redis.Rejoining(client),
		Barrier: func(ctx context.Context) (time.Duration, error) {
			left, err := barrier(ctx)
			m.planned.Store(time.Now().Add(left).UnixNano())
			return left, err
		},
		Budget: 2 * time.Second, ProbeTimeout: 2 * time.Second, StableAfter: time.Millisecond,
	})
	m.Brings("replay", m)
	env.Run(t, m.Run)
	<-m.Probed()
	return m
}

// awaitRejoin waits until the gateway has rejoined more often than before.
func (m *member) awaitRejoin(t *testing.T, before uint64) (st failover.Status) {
	t.Helper()
	env.Eventually(t, 2*recovery, func() error {
		if st = m.Status(); st.State != failover.Up || st.Counts.Rejoins <= before {
			return fmt.Errorf("no rejoin: %+v", st)
		}
		return nil
	})
	return st
}

func TestEpochOfAServer(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	client := openFor(t, server.URL)
	probe, renew := redis.Probe(client), redis.Renew(client)
	must := func(e failover.Epoch, err error) failover.Epoch {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first := must(probe(t.Context()))
	info := client.Info(t.Context(), "server").Val()
	if first.Counter != 1 || first.Incarnation == "" || first.Server == "" || !strings.Contains(info, "run_id:"+first.Server+"\r\n") {
		t.Errorf("the first probe: %+v of\n%s", first, info)
	}
	if second := must(probe(t.Context())); second != (failover.Epoch{Incarnation: first.Incarnation, Counter: 2, Server: first.Server}) {
		t.Errorf("the second probe: %+v after %+v", second, first)
	}
	// A loss causes one new incarnation, however many gateways notice it.
	last := failover.Epoch{Incarnation: first.Incarnation, Counter: 1 << 40}
	one := must(renew(t.Context(), last))
	if one.Incarnation == first.Incarnation || one.Counter <= last.Counter {
		t.Errorf("renewed: %+v", one)
	}
	last.Counter += 1000
	if two := must(renew(t.Context(), last)); two.Incarnation != one.Incarnation || two.Counter <= last.Counter {
		t.Errorf("renewed by another: %+v after %+v", two, one)
	}
	if three := must(renew(t.Context(), failover.Epoch{Incarnation: "other", Counter: 5})); three.Incarnation != one.Incarnation || three.Counter <= last.Counter {
		t.Errorf("lowered: %+v", three)
	}
	if _, err := redis.Barrier(client)(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range client.Keys(t.Context(), "*").Val() {
		if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || !strings.HasPrefix(key, "gw:{epoch}") {
			t.Errorf("%s lives for %v", key, ttl)
		}
	}
}

// A user who may not query the server's INFO still gets an epoch.
func TestEpochWithoutInfo(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	admin(t, server, "ACL SETUSER app on >app-pass ~* &* +@all -info")
	epoch, err := redis.Probe(openFor(t, "redis://app:app-pass@"+server.Addr))(t.Context())
	if err != nil || epoch.Incarnation == "" || epoch.Counter != 1 || epoch.Server != "" {
		t.Errorf("%+v, %v", epoch, err)
	}
}

// TestEveryGatewayReplaysOnceALoss deletes the data of two gateways in every way that Redis offers.
func TestEveryGatewayReplaysOnceALoss(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		lose func(t *testing.T, s *env.RedisServer)
		want string // the reason of the gateway that finds the loss first
	}{
		{"all keys are deleted", func(t *testing.T, s *env.RedisServer) { admin(t, s, "FLUSHALL") }, "came back empty"},
		{"only the epoch is deleted", func(t *testing.T, s *env.RedisServer) { admin(t, s, "DEL gw:{epoch}") }, "came back empty"},
		{"the epoch is evicted", func(t *testing.T, s *env.RedisServer) {
			admin(t, s, "SETRANGE ballast 2000000 x", "CONFIG SET maxmemory-policy volatile-lru", "CONFIG SET maxmemory 1mb", "CONFIG SET maxmemory 0", "DEL ballast")
		}, "came back empty"},
		{"it is restarted empty", func(_ *testing.T, s *env.RedisServer) { s.Restart(true) }, "came back empty"},
		{"an old copy is restored", func(_ *testing.T, s *env.RedisServer) {
			s.Kill()
			s.Restart(false)
		}, "an old copy was restored"},
		{"it is restarted with all its data", func(_ *testing.T, s *env.RedisServer) { s.Restart(false) }, "restarted or replaced"},
		{"its data is replaced", func(t *testing.T, s *env.RedisServer) {
			admin(t, s, fmt.Sprintf("HSET gw:{epoch} incarnation stranger%d counter 5000", rand.Uint64())) // another each time
		}, "another gateway found it lost"},
		{"an old copy is put back while it runs", func(t *testing.T, s *env.RedisServer) { admin(t, s, "HSET gw:{epoch} counter 1") }, "an old copy was restored"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := env.Redis(t)
			fleet := []*member{joinFleet(t, server.URL), joinFleet(t, server.URL)}
			for range 2 {
				admin(t, server, "SAVE")
				time.Sleep(1500 * time.Millisecond) // some probes after the copy was made
				var before [2]failover.Status
				var replays [2]int32
				for i, m := range fleet {
					before[i], replays[i] = m.Status(), m.replays.Load()
				}
				tt.lose(t, server)
				for i, m := range fleet {
					m.awaitRejoin(t, before[i].Counts.Rejoins)
				}
				time.Sleep(1500 * time.Millisecond) // one gateway's rejoin must not trigger the other's again
				told := false
				for i, m := range fleet {
					st := m.Status()
					if n := m.replays.Load() - replays[i]; n != 1 || st.Counts.Losses != before[i].Counts.Losses+1 || st.State != failover.Up {
						t.Errorf("gateway %d is %v after %d replays: %+v", i, st.State, n, st.History)
					}
					if !errors.Is(st.Reason, failover.ErrLost) {
						t.Errorf("gateway %d: %v", i, st.Reason)
					}
					told = told || strings.Contains(st.Reason.Error(), tt.want)
					if st.Epoch.Counter <= before[i].Epoch.Counter {
						t.Errorf("gateway %d: epoch %+v after %+v", i, st.Epoch, before[i].Epoch)
					}
				}
				if a, b := fleet[0].Status().Epoch, fleet[1].Status().Epoch; a.Incarnation != b.Incarnation || a.Incarnation == before[0].Epoch.Incarnation {
					t.Errorf("incarnations %q and %q after %q", a.Incarnation, b.Incarnation, before[0].Epoch.Incarnation)
				}
				if !told {
					t.Errorf("no gateway has the reason %q, but %v and %v", tt.want, fleet[0].Status().Reason, fleet[1].Status().Reason)
				}
			}
		})
	}
}

// TestGatewaysRejoinTogether causes outages of three kinds, one of which only probes can find, for
// gateways that probe at different times. Three fleets run side by side, and no other test beside
// them, since it measures the gateways. internal/failover shows in virtual time that the rules
// allow no more.
func TestGatewaysRejoinTogether(t *testing.T) {
	for n, first := range outageKinds {
		t.Run("first "+first, func(t *testing.T) {
			t.Parallel()
			server := env.Redis(t)
			var fleet []*member
			for range 3 {
				fleet = append(fleet, joinFleet(t, server.URL))
				time.Sleep(rand.N(300 * time.Millisecond))
			}
			var worst, worstPlanned time.Duration
			for outage := range 5 {
				kind := outageKinds[(n+outage)%len(outageKinds)]
				apart, planned := rejoin(t, server, fleet, kind)
				worst, worstPlanned = max(worst, apart), max(worstPlanned, planned)
				if planned > 500*time.Millisecond || apart > 2*time.Second {
					t.Errorf("outage %d, %s: the gateways planned to go Up %v apart and did so %v apart", outage, kind, planned, apart)
				}
				time.Sleep(rand.N(200 * time.Millisecond))
			}
			t.Logf("planned to go Up at most %v apart, and did so at most %v apart", worstPlanned, worst)
		})
	}
}

var outageKinds = []string{"read-only", "emptied", "killed"}

// rejoin causes an outage and returns how far apart the gateways came back, and how far apart they
// planned to.
func rejoin(t *testing.T, server *env.RedisServer, fleet []*member, kind string) (apart, plannedApart time.Duration) {
	t.Helper()
	var before []uint64
	for _, m := range fleet {
		before = append(before, m.Status().Counts.Rejoins)
	}
	switch kind {
	case "read-only":
		admin(t, server, "REPLICAOF 127.0.0.1 1")
		awaitAllDown(t, fleet)
		time.Sleep(rand.N(300 * time.Millisecond))
		admin(t, server, "REPLICAOF NO ONE")
	case "emptied":
		admin(t, server, "FLUSHALL")
	case "killed":
		server.Kill()
		awaitAllDown(t, fleet)
		time.Sleep(rand.N(300 * time.Millisecond))
		server.Restart(true)
	}
	var up, planned []time.Time
	for i, m := range fleet {
		up = append(up, m.awaitRejoin(t, before[i]).Since)
		planned = append(planned, time.Unix(0, m.planned.Load()))
	}
	return spread(up), spread(planned)
}

func awaitAllDown(t *testing.T, fleet []*member) {
	t.Helper()
	for _, m := range fleet {
		env.Until(t, "Down", func() bool { return !m.Up() })
	}
}

// spread is the time between the first and the last.
func spread(times []time.Time) time.Duration {
	return slices.MaxFunc(times, time.Time.Compare).Sub(slices.MinFunc(times, time.Time.Compare))
}

func TestBarrier(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	client := openFor(t, server.URL)
	barrier := redis.Barrier(client)
	rejoining := func() bool {
		t.Helper()
		others, err := redis.Rejoining(client)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return others
	}
	ask := func() time.Duration {
		t.Helper()
		left, err := barrier(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return left
	}
	start := time.Now()
	first := ask()
	if first != 400*time.Millisecond {
		t.Errorf("the first waits %v", first)
	}
	time.Sleep(100 * time.Millisecond)
	if second, passed := ask(), time.Since(start); second > 300*time.Millisecond || second < 400*time.Millisecond-passed-5*time.Millisecond {
		t.Errorf("%v after the first the second waits %v", passed, second)
	}
	if others := rejoining(); !others && time.Since(start) < 300*time.Millisecond {
		t.Error("Rejoining is false although two gateways wait")
	}
	time.Sleep(500 * time.Millisecond)
	if late := ask(); late != 0 && time.Since(start) < time.Second {
		t.Errorf("a late gateway waits %v", late)
	}
	if rejoining() {
		t.Error("Rejoining is true although the time has passed")
	}
	// A loss now is another outage, although the key still exists.
	admin(t, server, "HSET gw:{epoch} incarnation other")
	if again := ask(); again != 400*time.Millisecond {
		t.Errorf("after a loss the first waits %v", again)
	}
	admin(t, server, "DEL gw:{epoch}:rejoin")
	if rejoining() {
		t.Error("Rejoining is true although no gateway waits")
	}
	if again := ask(); again != 400*time.Millisecond {
		t.Errorf("after all was lost the first waits %v", again)
	}
	time.Sleep(1500 * time.Millisecond)
	if again := ask(); again != 400*time.Millisecond {
		t.Errorf("after the next outage the first waits %v", again)
	}
	server.Kill()
	if _, err := barrier(t.Context()); redis.Classify(err) != failover.Fault {
		t.Errorf("without a server: %v", err)
	}
}

// The loss of any part of a cluster is detected, not only of the part with the epoch.
func TestEpochOfACluster(t *testing.T) {
	t.Parallel()
	cluster := env.Cluster(t)
	client := openFor(t, cluster.URL)
	probe := redis.Probe(client)
	first, err := probe(t.Context())
	if err != nil || first.Incarnation == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := probe(t.Context())
	if err != nil || again.Incarnation != first.Incarnation || again.Server != first.Server || again.Counter != first.Counter+1 {
		t.Fatalf("%+v after %+v, %v", again, first, err)
	}
	renewed, err := redis.Renew(client)(t.Context(), again)
	if err != nil || renewed.Incarnation == again.Incarnation || renewed.Counter <= again.Counter || renewed.Server != again.Server {
		t.Fatalf("renewed %+v, %v", renewed, err)
	}
	home := cluster.Primary(cluster.Slot("gw:{epoch}"))
	for _, node := range cluster.Nodes[:3] {
		before, err := probe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plain := goredis.NewClient(&goredis.Options{Addr: node.Addr})
		if err := plain.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		_ = plain.Close()
		after, err := probe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if node == home && after.Incarnation == before.Incarnation {
			t.Error("the loss of the epoch does not show")
		}
		if node != home && (after.Server == before.Server || after.Incarnation != before.Incarnation) {
			t.Errorf("the loss of another part does not show: %+v after %+v", after, before)
		}
	}
}

// Replay implements failover.Backlog; it only counts replays.
func (m *member) Replay() { m.replays.Add(1) }

// Pending implements failover.Backlog.
func (*member) Pending() bool { return false }

// Waiting implements failover.Backlog.
func (*member) Waiting() int { return 0 }

// Drain implements failover.Backlog.
func (*member) Drain(context.Context) error { return nil }
