package redisdb_test

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/redisdb"
	"github.com/jewgo/gateway/internal/storetest"
	"github.com/jewgo/gateway/internal/testenv"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

// openFor opens a client that ends with the test. Its bounds are wide: what
// these tests look at is no matter of time.
func openFor(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := redisdb.Open(redisdb.Config{URL: url, Budget: 5 * time.Second, PoolSize: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return client
}

func TestLimitsConformance(t *testing.T) {
	server := testenv.Redis(t)
	storetest.Limits(t, func(t *testing.T) ratelimit.Store {
		client := openFor(t, server.URL)
		if err := client.FlushDB(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return redisdb.NewLimits(client)
	})
}

func TestLimitKeysExpireWithTheirBucket(t *testing.T) {
	client := openFor(t, testenv.Redis(t).URL)
	quota := gcra.Quota{Rate: 1, Period: time.Minute, Burst: 5}
	if _, err := redisdb.NewLimits(client).Take(t.Context(), []ratelimit.Charge{{Key: "k", Quota: quota, Cost: 2}}); err != nil {
		t.Fatal(err)
	}
	ttl, err := client.TTL(t.Context(), "rate:k").Result()
	if err != nil || ttl > 2*time.Minute || ttl < time.Minute {
		t.Errorf("TTL %v, %v; want the two minutes until the bucket is full", ttl, err)
	}
}

// roundTrips counts what a client sends.
type roundTrips struct {
	mu       sync.Mutex
	commands []string // guarded by mu
	dials    int      // guarded by mu
}

func (r *roundTrips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		r.mu.Lock()
		r.dials++
		r.mu.Unlock()
		return next(ctx, network, addr)
	}
}

func (r *roundTrips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.mu.Lock()
		r.commands = append(r.commands, cmd.Name())
		r.mu.Unlock()
		return next(ctx, cmd)
	}
}

func (r *roundTrips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.mu.Lock()
		r.commands = append(r.commands, "pipeline")
		r.mu.Unlock()
		return next(ctx, cmds)
	}
}

// since returns the commands sent since the last call, but for the handshake.
func (r *roundTrips) since() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := slices.DeleteFunc(r.commands, func(name string) bool { return name == "hello" })
	r.commands = nil
	return sent
}

func TestAChargeIsOneRoundTrip(t *testing.T) {
	client := openFor(t, testenv.Redis(t).URL)
	trips := &roundTrips{}
	client.AddHook(trips)
	limits := redisdb.NewLimits(client)
	charge := ratelimit.Charge{Key: "k", Quota: gcra.Quota{Rate: 1, Period: time.Hour, Burst: 3}, Cost: 1}
	for _, tt := range []struct {
		name    string
		charges int
		want    []string
	}{
		{"the first loads the script", 1, []string{"evalsha", "eval"}},
		{"one charge", 1, []string{"evalsha"}},
		{"two charges, the second refused", 3, []string{"evalsha", "evalsha"}},
	} {
		if _, err := limits.Take(t.Context(), slices.Repeat([]ratelimit.Charge{charge}, tt.charges)); err != nil {
			t.Fatal(err)
		}
		if got := trips.since(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: sent %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestOpenDoesNotConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, form := range []string{"redis://", "redis+cluster://", "redis+sentinel://"} {
		openFor(t, form+l.Addr().String()+map[string]string{"redis+sentinel://": "/main"}[form])
	}
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Accept(); err == nil {
		c.Close()
		t.Error("somebody connected")
	}
}

func TestOpenForms(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis.sock")
	single := testenv.Redis(t, "--unixsocket", socket, "--requirepass", "p@ss/word", "--user", "app", "on", ">app-pass", "~*", "+@all")
	cluster := testenv.Redis(t, "--cluster-enabled", "yes")
	if err := openFor(t, cluster.URL).ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"redis://:p%40ss%2Fword@" + single.Addr + "/1",
		"redis://app:app-pass@" + single.Addr,
		"unix://:p%40ss%2Fword@" + socket + "?db=1",
		"redis+cluster://" + cluster.Addr,
	} {
		client := openFor(t, url)
		var err error
		for range 50 { // a new cluster is down for a moment
			if _, err = redisdb.Probe(client)(t.Context()); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	// Both forms of a database number mean that database.
	for _, form := range []string{"/1", "?db=1"} {
		n, err := openFor(t, "redis://:p%40ss%2Fword@"+single.Addr+form).DBSize(t.Context()).Result()
		if err != nil || n != 1 {
			t.Errorf("%s: %d keys, %v; want the probe's", form, n, err)
		}
	}
}
