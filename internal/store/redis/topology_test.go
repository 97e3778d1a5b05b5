package redis_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/storetest"
)

// callBudget is the budget of these tests: larger than the default, so that a busy machine causes
// few timeouts, and far less than soon.
const callBudget = 150 * time.Millisecond

// rights are those required by the documentation of redis.Config.
const rights = "~rate:* ~gw:* &gw:* +@read +@write +@scripting +@pubsub -@dangerous +time +info"

// restrict adds a user with only these rights to the servers, and returns the URL with that user.
func restrict(t *testing.T, url, more string, servers ...*env.RedisServer) string {
	t.Helper()
	for _, s := range servers {
		admin(t, s, "ACL SETUSER gateway on >s3cret "+rights+" "+more)
	}
	return strings.Replace(url, "://", "://gateway:s3cret@", 1)
}

// stores runs the conformance suites of all stores on a Redis of any topology. Another URL is used
// to empty it, since the gateway's user may not.
func stores(t *testing.T, url, emptyBy string) {
	open := func(t *testing.T) redis.Client {
		empty := openFor(t, emptyBy)
		flush := func(ctx context.Context, c *goredis.Client) error { return c.FlushAll(ctx).Err() }
		var err error
		if cluster, ok := empty.(*goredis.ClusterClient); ok {
			err = cluster.ForEachMaster(t.Context(), flush)
		} else {
			err = empty.FlushAll(t.Context()).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
		return openFor(t, url)
	}
	t.Run("limits", func(t *testing.T) {
		storetest.Limits(t, func(t *testing.T) ratelimit.Store { return redis.NewLimits(open(t)) })
	})
	t.Run("cache", func(t *testing.T) {
		storetest.Cache(t, func(t *testing.T, now func() time.Time) cache.Store { return redis.NewCache(open(t), now) })
	})
	t.Run("sessions", func(t *testing.T) {
		storetest.Sessions(t, func(t *testing.T) storetest.SessionStore {
			return storetest.SessionStore{Store: redis.NewSessions(open(t), time.Now), Now: time.Now, Sleep: time.Sleep}
		})
	})
	t.Run("tags", func(t *testing.T) {
		tags := redis.NewCacheTags(open(t))
		made, err := tags.Change(t.Context(), 0, []cache.Change{{Slot: 7, Add: 1}})
		if err != nil || !slices.Equal(made.Marks, []cache.Mark{{Slot: 7, Gen: made.Base + 1}}) {
			t.Errorf("change: %v, %v", made, err)
		}
		if got, err := tags.Load(t.Context()); err != nil || got.Base != made.Base || !slices.Equal(got.Marks, made.Marks) {
			t.Errorf("load: %v, %v", got, err)
		}
	})
}

// load is a gateway under load from several callers, over keys in many slots.
type load struct {
	g    *gateway
	stop context.CancelFunc
	wait sync.WaitGroup

	mu     sync.Mutex
	remote int             // calls that Redis answered; guarded by mu
	took   []time.Duration // of every call; guarded by mu
	errs   []error         // guarded by mu
}

func newLoad(t *testing.T, g *gateway) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{g: g, stop: stop}
	for caller := range 20 {
		l.wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.call(fmt.Sprintf("%d-%d", caller, i%100))
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	t.Cleanup(stop)
	return l
}

func (l *load) call(key string) {
	charge := ratelimit.Charge{Key: key, Quota: gcra.Quota{Rate: 1000, Period: time.Second, Burst: 1000}, Cost: 1}
	start := time.Now()
	results, answered, err := failover.Ask(context.Background(), l.g.Switch, func(ctx context.Context) ([]gcra.Result, error) {
		return l.g.limits.Take(ctx, []ratelimit.Charge{charge}, nil)
	})
	took := time.Since(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, took)
	if len(results) == 1 {
		l.remote++
	}
	if answered && err != nil {
		l.errs = append(l.errs, err)
	}
}

// seen is the result of a load so far.
type seen struct{ calls, remote int }

func (l *load) snapshot() seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seen{len(l.took), l.remote}
}

// end stops the load and checks that every call was answered in time and without an error.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.wait.Wait()
	slices.Sort(l.took)
	n := len(l.took)
	waited, _ := slices.BinarySearch(l.took, callBudget)
	t.Logf("%d calls, %d by Redis, %d waited out the budget of %v; p50 %v, p99 %v, longest %v",
		n, l.remote, n-waited, callBudget, l.took[n/2], l.took[n*99/100], l.took[n-1])
	if len(l.errs) > 0 {
		t.Errorf("%d calls failed, the first with: %v", len(l.errs), l.errs[0])
	}
	if l.took[n-1] > soon {
		t.Errorf("a call took %v", l.took[n-1])
	}
}

// settled is how long a gateway that has come back must stay Up.
const settled = 500 * time.Millisecond

// mustReturn waits until the gateway has been Down since the generation and has come back to stay.
// Redis then answers.
func (g *gateway) mustReturn(t *testing.T, since uint64, within time.Duration) {
	t.Helper()
	start := time.Now()
	for up := start; time.Since(up) < settled; time.Sleep(time.Millisecond) {
		if st := g.Status(); st.State != failover.Up || st.Generation == since {
			up = time.Now()
		}
		if time.Since(start) > within {
			t.Fatalf("not Up again after %v: %+v", within, g.Status())
		}
	}
	t.Logf("Up again after %v; before: %v", time.Since(start)-settled, g.Status().Reason)
	g.mustTakeRemotely(t)
}

// mustChargeBy charges a limit through the URL that a policy without one derives from JewGo's
// variables.
func mustChargeBy(t *testing.T, vars map[string]string) {
	t.Helper()
	s, err := policy.Parse("p.yaml", []byte("version: 1"), func(name string) string { return vars[name] })
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, redis.Config{URL: s.Policy.Redis.URL.Reveal()})
	g.mustServe(t)
}

// watchTags changes a tag with one client and watches it with another.
func watchTags(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	connected, changed := make(chan struct{}, 10), make(chan cache.Table, 10)
	tags := redis.NewCacheTags(openFor(t, url))
	var watch sync.WaitGroup
	watch.Go(func() {
		_ = tags.Watch(ctx, func() { connected <- struct{}{} }, func(t cache.Table) { changed <- t })
	})
	defer watch.Wait()
	defer cancel()
	late := time.After(soon)
	select {
	case <-connected:
	case <-late:
		t.Fatal("the watch did not connect")
	}
	if _, err := redis.NewCacheTags(openFor(t, url)).Change(ctx, 0, []cache.Change{{Slot: 4711, Add: 1}}); err != nil {
		t.Fatal(err)
	}
	select {
	case change := <-changed:
		if len(change.Marks) != 1 || change.Marks[0].Slot != 4711 {
			t.Errorf("watched %+v", change)
		}
	case <-late:
		t.Fatal("a change was not reported")
	}
}

// hosts are the servers' addresses in the form of JewGo's variables.
func hosts(servers ...*env.RedisServer) string {
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.Addr
	}
	return strings.Join(addrs, ", ")
}

// envHelper marks the process that runs TestEnvironmentHelper.
const envHelper = "REDISDB_ENVIRONMENT_HELPER"

// TestEnvironmentHelper charges a limit using its environment.
func TestEnvironmentHelper(t *testing.T) {
	if os.Getenv(envHelper) == "" {
		t.Skip("runs only as a process of TestEnvironmentOfASingleServer")
	}
	vars := map[string]string{}
	for _, name := range []string{"REDIS_HOST", "REDIS_PORT", "REDIS_SSL", "REDIS_PASSWORD", "REDIS_DB"} {
		vars[name] = os.Getenv(name)
	}
	mustChargeBy(t, vars)
}

func TestEnvironmentOfASingleServer(t *testing.T) {
	t.Parallel()
	server := env.Redis(t, "--requirepass", "p@ss/word")
	host, port, _ := strings.Cut(server.Addr, ":")
	mustChargeBy(t, map[string]string{"REDIS_HOST": host, "REDIS_PORT": port, "REDIS_DB": "3", "REDIS_PASSWORD": "p@ss/word"})
	mustChargeBy(t, map[string]string{"REDIS_URL": "redis://:p%40ss%2Fword@" + server.Addr})

	// JewGo's variables cannot name roots, and a process reads the system's only once: so this
	// needs a process that trusts the test's.
	secure := env.RedisTLS(t, "--tls-auth-clients", "no", "--requirepass", "p")
	host, port, _ = strings.Cut(secure.Addr, ":")
	cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironmentHelper$", "-test.v")
	cmd.Env = append(os.Environ(), envHelper+"=1", "SSL_CERT_FILE="+secure.Client.CA,
		"REDIS_HOST="+host, "REDIS_PORT="+port, "REDIS_SSL=true", "REDIS_PASSWORD=p")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("REDIS_SSL: %v\n%s", err, out)
	}
}

// TestUserWithoutARight removes rights that the probe and the limits need, one at a time.
func TestUserWithoutARight(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	url := restrict(t, server.URL, "", server)
	g := newGateway(t, redis.Config{URL: url})
	for _, tt := range []struct{ right, reason string }{
		{"-evalsha", "NOPERM this user has no permissions to run the 'evalsha' command"},
		{"-time", "The user executing the script can't run this command"},
		{"-set", "The user executing the script can't run this command"},
		{"resetkeys ~gw:*", "NOPERM this user has no permissions to access one of the keys"},
		{"resetkeys ~rate:*", "NOPERM this user has no permissions to access one of the keys"},
	} {
		g.mustServe(t)
		since := g.Status().Generation
		admin(t, server, "ACL SETUSER gateway "+tt.right)
		env.Until(t, tt.right, func() bool {
			g.take(t)
			return g.Status().Generation != since
		})
		if reason := g.Status().Reason; reason == nil || !strings.Contains(reason.Error(), tt.reason) || redis.Classify(reason) != failover.Fault {
			t.Errorf("%s: reason: %v", tt.right, reason)
		}
		restrict(t, url, "", server)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	socket := t.TempDir() + "/redis.sock"
	server := env.Redis(t, "--unixsocket", socket)
	g := newGateway(t, redis.Config{URL: "unix://" + socket + "?db=2"})
	g.mustServe(t)
	server.Kill()
	g.mustTakeLocally(t)
	if reason := g.mustBecome(t, failover.Down); redis.Classify(reason) != failover.Fault {
		t.Errorf("reason: %v", reason)
	}
	server.Restart(true)
	g.mustServe(t)
}

func TestPoolStats(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	client, err := redis.Open(redis.Config{URL: server.URL, PoolSize: 2, Budget: callBudget})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if p := redis.PoolStats(client); p != (redis.Pool{}) {
		t.Errorf("before the first call: %+v", p)
	}
	for range 3 { // a pipeline takes its connection from the same pool
		if _, err := client.Pipelined(t.Context(), func(p goredis.Pipeliner) error { return p.Ping(t.Context()).Err() }); err != nil {
			t.Fatal(err)
		}
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if p := redis.PoolStats(client); p.Misses != 1 || p.Hits != 5 || p.Total != 1 || p.Idle != 1 || p.Timeouts != 0 {
		t.Errorf("one connection used six times: %+v", p)
	}
	ask := func() {
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() { client.Ping(t.Context()) })
		}
		callers.Wait()
	}
	env.Eventually(t, env.Patience, func() error { // on a busy machine no wait may end in time
		admin(t, server, "CLIENT PAUSE 50 ALL")
		ask()
		if p := redis.PoolStats(client); p.Waits == 0 || p.Total != 2 {
			return fmt.Errorf("eight callers of two connections: %+v", p)
		}
		return nil
	})
	server.Stop()
	ask()
	server.Cont()
	if p := redis.PoolStats(client); p.Timeouts == 0 || p.Stale == 0 || p.Total != 0 {
		t.Errorf("eight callers of a stopped server: %+v", p)
	}
}
