package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/test/env"
)

const (
	// faultBudget is larger than the default, so that a busy machine does not cause timeouts.
	faultBudget = 500 * time.Millisecond
	// soon is how long a call may take on a busy test machine: far less than go-redis takes by
	// default.
	soon = 2 * time.Second
	// recovery bounds the time until the gateway is back.
	recovery = 5 * time.Second
)

func TestMain(m *testing.M) { env.SideBySide(8); m.Run() }

// gateway is the Redis part of a gateway: a client, a Switch and limits.
type gateway struct {
	client goredis.UniversalClient
	*failover.Switch
	limits *redis.Limits
}

// newGateway starts the Redis part of a gateway and waits for its first probe.
func newGateway(t *testing.T, cfg redis.Config) *gateway {
	t.Helper()
	if cfg.Budget == 0 {
		cfg.Budget = faultBudget
	}
	client, err := redis.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{client: client, limits: redis.NewLimits(client)}
	g.Switch = failover.New(failover.Config{
		Probe:     redis.Probe(client),
		Renew:     redis.Renew(client),
		Barrier:   redis.Barrier(client),
		Rejoining: redis.Rejoining(client),
		Classify:  redis.Classify,
		InFlight:  redis.InFlight(client),
		Budget:    cfg.Budget,
		OnChange:  func(c failover.Change) { t.Logf("%v → %v %v", c.From, c.To, c.Reason) },
	})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	env.Run(t, g.Run)
	<-g.Probed()
	return g
}

// take charges a limit and reports whether Redis decided.
func (g *gateway) take(t *testing.T) (remote bool) {
	t.Helper()
	start := time.Now()
	charge := ratelimit.Charge{Key: "k", Quota: gcra.Quota{Rate: 1e6, Period: time.Second, Burst: 1e6}, Cost: 1}
	results, answered, err := failover.Ask(t.Context(), g.Switch, func(ctx context.Context) ([]gcra.Result, error) {
		return g.limits.Take(ctx, []ratelimit.Charge{charge}, nil)
	})
	if answered && err != nil {
		t.Errorf("take: %v", err)
	}
	if d := time.Since(start); d > soon {
		t.Errorf("a request waited %v for Redis", d)
	}
	return answered && len(results) == 1
}

// mustTakeRemotely wants an answer of Redis. On a busy machine one call may come too late.
func (g *gateway) mustTakeRemotely(t *testing.T) {
	t.Helper()
	env.Eventually(t, soon, func() error {
		if !g.take(t) {
			return fmt.Errorf("answered locally: %+v", g.Status())
		}
		return nil
	})
}

func (g *gateway) mustTakeLocally(t *testing.T) {
	t.Helper()
	if g.take(t) {
		t.Fatal("answered by Redis")
	}
}

// mustBecome waits for a state and returns its reason.
func (g *gateway) mustBecome(t *testing.T, want failover.State) error {
	t.Helper()
	env.Eventually(t, recovery, func() error {
		if st := g.Status(); st.State != want {
			return fmt.Errorf("not %v: %+v", want, st)
		}
		return nil
	})
	return g.Status().Reason
}

// mustServe waits until the gateway is Up and Redis answers.
func (g *gateway) mustServe(t *testing.T) {
	t.Helper()
	g.mustBecome(t, failover.Up)
	g.mustTakeRemotely(t)
}

// admin runs commands on its own connection, without the gateway's bounds.
func admin(t *testing.T, s *env.RedisServer, commands ...string) {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr})
	defer client.Close()
	for _, c := range commands {
		args := []any{}
		for a := range strings.FieldsSeq(c) {
			args = append(args, a)
		}
		if err := client.Do(t.Context(), args...).Err(); err != nil && !errors.Is(err, goredis.Nil) {
			t.Fatalf("%s: %v", c, err)
		}
	}
}

func TestKilledServer(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	g := newGateway(t, redis.Config{URL: server.URL})
	g.mustTakeRemotely(t)
	server.Kill()
	g.mustTakeLocally(t) // the call that meets the fault
	if reason := g.mustBecome(t, failover.Down); redis.Classify(reason) != failover.Fault {
		t.Errorf("reason: %v", reason)
	}
	server.Restart(true)
	g.mustServe(t)
}

func TestServerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	g := newGateway(t, redis.Config{URL: server.URL})
	var callers sync.WaitGroup
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	for range 50 {
		callers.Go(func() {
			for ctx.Err() == nil {
				g.take(t)
				time.Sleep(time.Millisecond)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	server.Kill()
	time.Sleep(300 * time.Millisecond)
	server.Restart(true)
	callers.Wait()
	// As many dials have failed as the pool holds connections, so the pool's own backoff has begun;
	// the gateway must still come back.
	g.mustServe(t)
}

func TestStoppedServer(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	g := newGateway(t, redis.Config{URL: server.URL})
	g.mustTakeRemotely(t)
	server.Stop()
	generation := g.Status().Generation
	for range 3 {
		if g.Status().Generation != generation {
			t.Fatal("tripped before the third timeout")
		}
		g.mustTakeLocally(t)
	}
	if reason := g.mustBecome(t, failover.Down); redis.Classify(reason) != failover.Timeout {
		t.Errorf("reason: %v", reason)
	}
	server.Cont()
	g.mustServe(t)
}

func TestManyCallersOfAStoppedServer(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	g := newGateway(t, redis.Config{URL: server.URL, PoolSize: 10})
	g.mustTakeRemotely(t)
	server.Stop()
	var callers sync.WaitGroup
	for range 300 {
		callers.Go(func() { g.take(t) })
	}
	callers.Wait()
	g.mustBecome(t, failover.Down)
	server.Cont()
	g.mustBecome(t, failover.Up)
}

func TestNoServerAtTheStart(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	server.Kill()
	g := newGateway(t, redis.Config{URL: server.URL, PoolSize: 1}) // one failed dial starts the pool's backoff
	g.mustTakeLocally(t)
	if st := g.Status(); st.State != failover.Down || st.Reason == nil {
		t.Errorf("%+v", st)
	}
	server.Restart(true)
	g.mustServe(t)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	const right, wrong = "open-sesame", "barley-corn"
	server := env.Redis(t, "--requirepass", right)
	for _, tt := range []struct {
		name, password, want string
	}{
		{"without a password", "", "NOAUTH"},
		{"with a wrong one", wrong, "WRONGPASS"},
		{"with the right one", right, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, redis.Config{URL: fmt.Sprintf("redis://:%s@%s", tt.password, server.Addr)})
			if tt.want == "" {
				g.mustServe(t)
				return
			}
			g.mustTakeLocally(t)
			reason := g.mustBecome(t, failover.Down)
			if reason == nil || !strings.Contains(reason.Error(), tt.want) || redis.Classify(reason) != failover.Fault {
				t.Errorf("reason: %v", reason)
			}
			if strings.Contains(fmt.Sprint(reason), wrong) {
				t.Errorf("the reason contains the password: %v", reason)
			}
		})
	}
}

func TestPausedWritesTripThoughReadsGoOn(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	g := newGateway(t, redis.Config{URL: server.URL})
	g.mustBecome(t, failover.Up)
	admin(t, server, "CLIENT PAUSE 60000 WRITE")
	env.Until(t, "hanging writes are noticed", func() bool {
		// Meanwhile the gateway only reads, and the reads succeed.
		read := func(ctx context.Context) (string, error) { return g.client.Get(ctx, "absent").Result() }
		if _, answered, err := failover.Ask(t.Context(), g.Switch, read); answered && !errors.Is(err, goredis.Nil) {
			t.Fatalf("read: %v", err)
		}
		return !g.Up()
	})
	admin(t, server, "CLIENT UNPAUSE")
	g.mustServe(t)
}

// TestServerThatRefuses breaks a server that still answers PING and, mostly, reads. The first
// request that writes is answered locally and trips the Switch.
func TestServerThatRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		spoil, fix []string
		reason     string
	}{
		{"a replica that is read-only", []string{"REPLICAOF 127.0.0.1 1"}, []string{"REPLICAOF NO ONE"}, "READONLY"},
		{
			"a replica without its master",
			[]string{"CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"},
			[]string{"REPLICAOF NO ONE", "CONFIG SET replica-serve-stale-data yes"},
			"MASTERDOWN",
		},
		{
			"full memory",
			[]string{"SETRANGE ballast 2000000 x", "CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1mb"},
			[]string{"CONFIG SET maxmemory 0", "DEL ballast"},
			"OOM",
		},
		{"too few replicas", []string{"CONFIG SET min-replicas-to-write 1"}, []string{"CONFIG SET min-replicas-to-write 0"}, "NOREPLICAS"},
		{"a right taken away", []string{"ACL SETUSER default -evalsha"}, []string{"ACL SETUSER default +evalsha"}, "NOPERM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := env.Redis(t)
			g := newGateway(t, redis.Config{URL: server.URL})
			g.mustServe(t)
			admin(t, server, tt.spoil...)
			g.mustTakeLocally(t)
			if reason := g.mustBecome(t, failover.Down); reason == nil || !strings.Contains(reason.Error(), tt.reason) {
				t.Errorf("reason: %v, want %s", reason, tt.reason)
			}
			admin(t, server, tt.fix...)
			g.mustServe(t)
		})
	}
}

// TestWhatIsNoFault causes events that cost a request nothing, or only that request.
func TestWhatIsNoFault(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	g := newGateway(t, redis.Config{URL: server.URL})
	g.mustBecome(t, failover.Up)
	generation := g.Status().Generation
	for _, tt := range []struct {
		name    string
		command string
		remote  bool
	}{
		{"scripts are forgotten", "SCRIPT FLUSH", true},
		{"idle connections are closed by the server", "CLIENT KILL TYPE normal", true},
		{"a bucket's key holds something else", "LPUSH rate:k x", false},
		{"and is gone", "DEL rate:k", true},
	} {
		g.mustTakeRemotely(t)
		if strings.HasPrefix(tt.command, "LPUSH") {
			admin(t, server, "DEL rate:k")
		}
		admin(t, server, tt.command)
		time.Sleep(20 * time.Millisecond) // until the client notices closed connections
		if remote := g.take(t); remote != tt.remote {
			t.Errorf("%s: answered by Redis %v, want %v", tt.name, remote, tt.remote)
		}
		if st := g.Status(); st.Generation != generation {
			t.Fatalf("%s: tripped: %+v", tt.name, st)
		}
		admin(t, server, "DEL rate:k")
	}
}

// TestDialsDoNotBackOff kills a server until go-redis would have stopped dialling, and calls it at
// once after its restart. Only the Switch may decide to dial less often; otherwise gateways would
// come back up to a second apart.
func TestDialsDoNotBackOff(t *testing.T) {
	t.Parallel()
	for _, topology := range []string{"redis", "redis+cluster"} {
		t.Run(topology, func(t *testing.T) {
			var args []string
			if topology != "redis" {
				args = []string{"--cluster-enabled", "yes"}
			}
			server := env.Redis(t, args...)
			if args != nil {
				admin(t, server, "CLUSTER ADDSLOTSRANGE 0 16383")
			}
			url := topology + "://" + server.Addr
			client, err := redis.Open(redis.Config{URL: url, Budget: 5 * time.Second, PoolSize: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ask := func() error {
				_, err := redis.Probe(client)(t.Context())
				return err
			}
			env.Eventually(t, failoverTime, ask)
			server.Kill()
			for range 10 { // more than the one connection
				if err := ask(); redis.Classify(err) != failover.Fault {
					t.Errorf("without a server: %v", err)
				}
			}
			server.Restart(false)
			// A cluster is not ready at once, and says so.
			if err := ask(); err != nil && !strings.Contains(err.Error(), "CLUSTERDOWN") {
				t.Errorf("the first call after the restart: %v", err)
			}
		})
	}
}
