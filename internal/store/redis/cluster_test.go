package redis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

func TestClusterStores(t *testing.T) {
	t.Parallel()
	cluster := env.Cluster(t)
	url := restrict(t, cluster.URL, "+cluster|slots +asking", cluster.Nodes...)
	stores(t, url, cluster.URL)
	mustChargeBy(t, map[string]string{"REDIS_CLUSTER_HOSTS": hosts(cluster.Nodes[:2]...)})
	watchTags(t, url)
}

// TestClusterTellsOfPurgesWithoutItsBus drops the messages that nodes forward to each other, which
// can happen unnoticed by publisher and subscriber.
func TestClusterTellsOfPurgesWithoutItsBus(t *testing.T) {
	t.Parallel()
	cluster := env.Cluster(t)
	cluster.MoveSlot(cluster.Slot("gw:{epoch}"), cluster.Nodes[0])
	const published = 4 // the type of packets that carry messages
	for _, node := range cluster.Nodes {
		admin(t, node, fmt.Sprintf("DEBUG DROP-CLUSTER-PACKET-FILTER %d", published))
	}
	watchTags(t, cluster.URL)
}

// TestClusterMovesSlots moves slots back and forth under a load that writes to them. No call fails
// or waits, and the gateway keeps using the cluster.
func TestClusterMovesSlots(t *testing.T) {
	t.Parallel()
	cluster := env.Cluster(t)
	g := newGateway(t, redis.Config{URL: cluster.URL, Budget: soon})
	g.mustBecome(t, failover.Up)
	l := newLoad(t, g)
	var pipelines sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	pipelines.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprintf("{rate:%[1]d-%[1]d}", i%20) // in the slot of a limit
			_, err := g.client.Pipelined(context.WithoutCancel(ctx), func(p goredis.Pipeliner) error {
				p.Set(ctx, key, i, time.Minute)
				return p.Get(ctx, key).Err()
			})
			if err != nil {
				t.Errorf("a pipeline: %v", err)
			}
		}
	})
	time.Sleep(200 * time.Millisecond)
	before := l.snapshot()
	for range 3 {
		for key := range 20 { // keys of the load
			slot := cluster.Slot(fmt.Sprintf("rate:%d-%d", key, key))
			to := cluster.Nodes[0]
			if cluster.Primary(slot) == to {
				to = cluster.Nodes[1]
			}
			cluster.MoveSlot(slot, to)
		}
	}
	after := l.snapshot()
	stop()
	pipelines.Wait()
	l.end(t)
	calls, local := after.calls-before.calls, after.calls-after.remote-(before.calls-before.remote)
	t.Logf("60 moves: of %d calls %d were answered locally", calls, local)
	if local > calls/10 {
		t.Errorf("of %d calls %d were answered locally", calls, local)
	}
	g.mustServe(t)
}

// TestClusterPrimaryThatHangs freezes one primary of three, which the cluster itself notices only
// after a while. Two thirds of the calls still succeed, so there are hardly three timeouts in a
// row. The probe must find it, or a third of the calls would wait out their budget until another
// primary is elected.
func TestClusterPrimaryThatHangs(t *testing.T) {
	t.Parallel()
	cluster := env.Cluster(t)
	for _, tt := range []struct {
		slot   int  // of the primary
		loaded bool // whether there is load while it hangs
	}{
		{0, false}, {8191, false}, {16383, false}, {0, true},
	} {
		t.Run(fmt.Sprintf("slot %d, loaded %v", tt.slot, tt.loaded), func(t *testing.T) {
			if !tt.loaded && cluster.Primary(tt.slot) == cluster.Primary(cluster.Slot("gw:{epoch}")) {
				return // any probe would find that
			}
			for _, node := range cluster.Nodes {
				admin(t, node, "CONFIG SET cluster-node-timeout 15000", "CONFIG SET cluster-require-full-coverage no")
			}
			g := newGateway(t, redis.Config{URL: cluster.URL, Budget: callBudget})
			g.mustBecome(t, failover.Up)
			var l *load
			if tt.loaded {
				l = newLoad(t, g)
			}
			since := g.Status().Generation
			frozen := cluster.Primary(tt.slot)
			frozen.Stop()
			start := time.Now()
			reason := g.mustBecome(t, failover.Down)
			t.Logf("Down after %v: %v", time.Since(start), reason)
			if redis.Classify(reason) != failover.Timeout {
				t.Errorf("reason: %v", reason)
			}
			frozen.Cont()
			g.mustReturn(t, since, recovery)
			if l != nil {
				l.end(t)
			}
		})
	}
}

// TestClusterReplicaThatHangs freezes a replica, which no request uses. With such a large budget,
// only a call that waits for it would be noticed.
func TestClusterReplicaThatHangs(t *testing.T) {
	t.Parallel()
	cluster := env.Cluster(t)
	g := newGateway(t, redis.Config{URL: cluster.URL, Budget: soon})
	g.mustBecome(t, failover.Up)
	since := g.Status().Generation
	cluster.Nodes[3].Stop()
	l := newLoad(t, g)
	time.Sleep(2 * time.Second)
	l.end(t)
	if st := g.Status(); st.Generation != since {
		t.Errorf("tripped: %+v", st)
	}
}

// deafProxy forwards to a server and, when deaf, drops the server's next reply: the command was
// done, but the client is not told. Other connections work.
type deafProxy struct {
	net.Listener
	deaf  atomic.Bool
	close bool // close the connection then instead of keeping it silent
}

func newDeafProxy(t *testing.T, closes bool) *deafProxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &deafProxy{Listener: l, close: closes}
}

func (p *deafProxy) run(t *testing.T, to string) {
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := p.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.join(client, to) })
		}
	})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		conns.Wait()
	})
}

func (p *deafProxy) join(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close() // ends the other direction
		_, _ = io.Copy(server, client)
	}()
	silent := false
	for buf := make([]byte, 4096); ; {
		n, err := server.Read(buf)
		silent = silent || err == nil && p.deaf.CompareAndSwap(true, false)
		if err != nil || silent && p.close {
			return
		}
		if !silent {
			_, _ = client.Write(buf[:n])
		}
	}
}

// TestNothingIsSentTwice drops the reply to commands that were done, and counts how often they were
// done.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	for _, topology := range []string{"redis", "redis+cluster"} {
		for _, closes := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, the connection ends %v", topology, closes), func(t *testing.T) {
				t.Parallel()
				proxy := newDeafProxy(t, closes)
				var args []string
				if topology == "redis+cluster" {
					_, port, _ := net.SplitHostPort(proxy.Addr().String())
					args = []string{"--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", port}
				}
				server := env.Redis(t, args...)
				proxy.run(t, server.Addr)
				if args != nil {
					admin(t, server, "CLUSTER ADDSLOTSRANGE 0 16383")
				}
				client, err := redis.Open(redis.Config{URL: topology + "://" + proxy.Addr().String()})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				for way, do := range map[string]func(ctx context.Context) error{
					"a command": func(ctx context.Context) error { return client.Incr(ctx, "n").Err() },
					"a script": func(ctx context.Context) error {
						return client.Eval(ctx, "return redis.call('INCR', KEYS[1])", []string{"n"}).Err()
					},
					"a pipeline": func(ctx context.Context) error {
						_, err := client.Pipelined(ctx, func(p goredis.Pipeliner) error { return p.Incr(ctx, "n").Err() })
						return err
					},
				} {
					awaitSet(t, client, "n", 0) // leaves a connection ready for use
					proxy.deaf.Store(true)
					// Longer than the client's own bounds, so the context does not end the call.
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					if err := do(ctx); redis.Classify(err) == failover.Answer {
						t.Errorf("%s without an answer: %v", way, err)
					}
					cancel()
					if n := get(t, server, "n"); n != "1" {
						t.Errorf("%s was done %s times", way, n)
					}
				}
			})
		}
	}
}

func awaitSet(t *testing.T, client redis.Client, key string, value any) {
	t.Helper()
	env.Eventually(t, recovery, func() error { return client.Set(t.Context(), key, value, 0).Err() })
}

// get reads a key without the gateway's client.
func get(t *testing.T, s *env.RedisServer, key string) string {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr})
	defer client.Close()
	v, err := client.Get(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestClusterThatLacksSlots uses a slot without an owner, in a cluster without full coverage: a
// fault, not an answer.
func TestClusterThatLacksSlots(t *testing.T) {
	t.Parallel()
	server := env.Redis(t, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
	admin(t, server, "CLUSTER ADDSLOTSRANGE 0 8000")
	g := newGateway(t, redis.Config{URL: "redis+cluster://" + server.Addr, Budget: callBudget})
	var reason error
	env.Until(t, "CLUSTERDOWN", func() bool {
		reason = g.Status().Reason
		return reason != nil && strings.Contains(reason.Error(), "CLUSTERDOWN")
	})
	if redis.Classify(reason) != failover.Fault || errors.Is(reason, context.Canceled) {
		t.Errorf("reason: %v", reason)
	}
	g.mustTakeLocally(t)
	admin(t, server, "CLUSTER ADDSLOTSRANGE 8001 16383")
	g.mustServe(t)
}
