package redis_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-redis/redis_rate/v10"
	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
	"github.com/jewgo/gateway/test/storetest"
)

// openFor opens a client that is closed at the end of the test. Its bounds are large, since these
// tests do not depend on time.
func openFor(t *testing.T, url string) goredis.UniversalClient {
	t.Helper()
	client, err := redis.Open(redis.Config{URL: url, Budget: 5 * time.Second, PoolSize: 64})
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

// emptyLimits returns the limits of a server that was emptied.
func emptyLimits(t *testing.T, client goredis.UniversalClient) *redis.Limits {
	t.Helper()
	flush := func(ctx context.Context, c *goredis.Client) error { return c.FlushAll(ctx).Err() }
	var err error
	switch c := client.(type) {
	case *goredis.ClusterClient:
		err = c.ForEachMaster(t.Context(), flush)
	case *goredis.Client:
		err = flush(t.Context(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return redis.NewLimits(client)
}

func TestLimitsConformance(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	storetest.Limits(t, func(t *testing.T) ratelimit.Store { return emptyLimits(t, openFor(t, server.URL)) })
}

func TestLimitKeysExpireWithTheirBucket(t *testing.T) {
	t.Parallel()
	client := openFor(t, env.Redis(t).URL)
	limits := redis.NewLimits(client)
	quota := gcra.Quota{Rate: 1, Period: time.Minute, Burst: 5}
	if _, err := limits.Take(t.Context(), []ratelimit.Charge{{Key: "k", Quota: quota, Cost: 2}}, nil); err != nil {
		t.Fatal(err)
	}
	ttl, err := client.TTL(t.Context(), "rate:k").Result()
	if err != nil || ttl > 2*time.Minute || ttl < time.Minute {
		t.Errorf("TTL %v, %v; want the two minutes until the bucket is full", ttl, err)
	}
	for cost, want := range map[int]time.Duration{1: time.Minute, 3: 0} { // the last refunds more than was taken
		c := ratelimit.Charge{Key: fmt.Sprint(cost), Quota: quota, Cost: 2}
		if _, err := limits.Take(t.Context(), []ratelimit.Charge{c, {Key: "other", Quota: hourly(9), Cost: 1}}, nil); err != nil {
			t.Fatal(err)
		}
		c.Cost = cost
		if err := limits.Refund(t.Context(), []ratelimit.Charge{c}); err != nil {
			t.Fatal(err)
		}
		ttl, err := client.PTTL(t.Context(), "rate:"+c.Key).Result()
		if gone := ttl == -2; err != nil || gone != (want == 0) || ttl > want {
			t.Errorf("%d of two tokens refunded: TTL %v, %v, want %v", cost, ttl, err, want)
		}
	}
}

// roundTrips counts a client's round trips.
type roundTrips struct {
	mu       sync.Mutex
	commands []string // guarded by mu
	dials    int      // guarded by mu
}

func (r *roundTrips) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		r.mu.Lock()
		r.dials++
		r.mu.Unlock()
		return next(ctx, network, addr)
	}
}

func (r *roundTrips) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		r.mu.Lock()
		r.commands = append(r.commands, cmd.Name())
		r.mu.Unlock()
		return next(ctx, cmd)
	}
}

func (r *roundTrips) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		r.mu.Lock()
		r.commands = append(r.commands, "pipeline")
		r.mu.Unlock()
		return next(ctx, cmds)
	}
}

// since returns the commands sent since the last call, without the handshake.
func (r *roundTrips) since() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := slices.DeleteFunc(r.commands, func(name string) bool { return name == "hello" })
	r.commands = nil
	return sent
}

// hourly is a quota whose tokens do not come back during a test.
func hourly(burst int) gcra.Quota { return gcra.Quota{Rate: 1, Period: time.Hour, Burst: burst} }

// charges returns charges to that many buckets.
func charges(n int, c ratelimit.Charge) []ratelimit.Charge {
	all := make([]ratelimit.Charge, n)
	for i := range all {
		all[i] = c
		all[i].Key = fmt.Sprintf("k%d", i)
	}
	return all
}

func TestEveryCallIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	proxy, err := faultproxy.Listen(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	client := openFor(t, proxy.URL())
	limits := redis.NewLimits(client)
	take := func(n int, c ratelimit.Charge) func() error {
		return func() error {
			results, err := limits.Take(t.Context(), charges(n, c), nil)
			if err == nil && len(results) != n {
				err = fmt.Errorf("%d results", len(results))
			}
			return err
		}
	}
	plain := ratelimit.Charge{Quota: hourly(100), Cost: 1}
	extra, shadow, much := plain, plain, plain
	extra.Extra, shadow.Shadow, much.Cost = 5, true, 101
	var owed []ratelimit.Settlement
	var leases []ratelimit.LeaseOf
	for _, c := range charges(128, plain) {
		owed = append(owed, ratelimit.Settlement{ID: "id-" + c.Key, Key: c.Key, Debt: gcra.Debt{Quota: c.Quota, AtLeast: time.Hour, Add: time.Hour}})
		leases = append(leases, ratelimit.LeaseOf{Key: c.Key, Lease: gcra.Lease{Quota: c.Quota, Tokens: 1, Ends: 3 * time.Hour}})
	}
	type call struct {
		name string
		call func() error
	}
	calls := []call{
		{"refund", func() error { return limits.Refund(t.Context(), charges(6, plain)) }},
		{"settle", func() error { _, err := limits.Settle(t.Context(), owed); return err }},
		{"return leases", func() error { return limits.Return(t.Context(), leases) }},
		{"peek", func() error { _, _, err := limits.Peek(t.Context(), "k1", plain.Quota); return err }},
		{"reset", func() error { return limits.Reset(t.Context(), "k1", "k2", "absent") }},
	}
	for n := 1; n <= 6; n++ {
		calls = append(calls, call{fmt.Sprintf("%d charges", n), take(n, plain)})
	}
	for _, c := range []ratelimit.Charge{extra, shadow, much} {
		for _, n := range []int{1, 3} {
			calls = append(calls, call{fmt.Sprintf("%d of %+v", n, c), take(n, c)})
		}
	}
	for _, loaded := range []bool{false, true} { // in the first run each script is loaded
		for _, tt := range calls {
			proxy.ResetStats()
			if err := tt.call(); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if s := proxy.Stats(); loaded && s.RoundTrips != 1 {
				t.Errorf("%s: %d round trips: %v", tt.name, s.RoundTrips, s.Commands)
			}
		}
	}
	// A script that the server has lost costs one more round trip, once.
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{2, 1} {
		proxy.ResetStats()
		if err := take(3, plain)(); err != nil {
			t.Fatal(err)
		}
		if s := proxy.Stats(); s.RoundTrips != want {
			t.Errorf("after SCRIPT FLUSH: %d round trips, want %d: %v", s.RoundTrips, want, s.Commands)
		}
	}
}

// Single enforced charges are made by redis_rate, although the script could make them too.
func TestSingleChargesAreMadeByRedisRate(t *testing.T) {
	t.Parallel()
	client := openFor(t, env.Redis(t).URL)
	limits := redis.NewLimits(client)
	if _, err := limits.Take(t.Context(), charges(1, ratelimit.Charge{Quota: hourly(3), Cost: 1}), nil); err != nil {
		t.Fatal(err)
	}
	// redis_rate's own limiter continues from our bucket.
	limiter := redis_rate.NewLimiter(client)
	r, err := limiter.AllowN(t.Context(), "k0", redis_rate.Limit{Rate: 1, Period: time.Hour, Burst: 3}, 1)
	if err != nil || r.Allowed != 1 || r.Remaining != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	// The server must know redis_rate's script only; a client that has not used it sends it again.
	if n := infoNumber(t, client, "memory", "number_of_cached_scripts"); n != 1 {
		t.Errorf("the server knows %d scripts, want redis_rate's only", n)
	}
}

func infoNumber(t *testing.T, client goredis.UniversalClient, section, name string) int {
	t.Helper()
	info, err := client.Info(t.Context(), section).Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %q", name, info)
	return 0
}

// A lease's tokens are charged before they are spent, and are at most half of what is left, so that
// others get their part.
func TestLeases(t *testing.T) {
	t.Parallel()
	limits := redis.NewLimits(openFor(t, env.Redis(t).URL))
	take := func(extra int, quota gcra.Quota, keys ...string) gcra.Result {
		t.Helper()
		var all []ratelimit.Charge
		for _, key := range keys {
			all = append(all, ratelimit.Charge{Key: key, Quota: quota, Cost: 1, Extra: extra})
		}
		results, err := limits.Take(t.Context(), all, nil)
		if err != nil {
			t.Fatal(err)
		}
		return results[0]
	}
	used := 0
	for _, tt := range []struct{ extra, left, want int }{
		{0, 19, 0}, {4, 18, 4}, {100, 13, 6}, {3, 6, 3}, {3, 2, 1}, {3, 0, 0},
	} {
		r := take(tt.extra, hourly(20), "k")
		used += 1 + tt.want
		whole := time.Duration(used) * time.Hour
		if !r.Allowed || r.Remaining != tt.left || r.Extra != tt.want || r.ResetAfter > whole || r.ResetAfter < whole-time.Minute {
			t.Errorf("%+v: %+v, whole in %v", tt, r, whole)
		}
	}
	if r := take(3, hourly(20), "k"); r.Allowed || r.Extra != 0 {
		t.Errorf("from an empty bucket: %+v", r)
	}
	if r := take(3, hourly(20), "fresh", "k"); !r.Allowed || r.Extra != 0 || r.Remaining != 20 || r.ResetAfter != 0 {
		t.Errorf("besides a refusing limit: %+v", r)
	}
	// A lease's slots end with the bucket's TAT, one interval apart: the bucket is full again once
	// all have ended, and not earlier.
	quota := gcra.Quota{Rate: 20, Period: time.Second, Burst: 40}
	start := time.Now()
	r := take(10, quota, "fast")
	time.Sleep(r.ResetAfter)
	again := take(0, quota, "fast")
	if elapsed := time.Since(start); r.Extra != 10 || r.ResetAfter != 11*quota.Interval() || again.Remaining != 39 {
		t.Errorf("%+v, then after %v %+v", r, elapsed, again)
	}
}

func TestLeasesComeBack(t *testing.T) {
	t.Parallel()
	limits := redis.NewLimits(openFor(t, env.Redis(t).URL))
	quota := hourly(20)
	for _, tt := range []struct {
		name  string
		spent int
		then  func(key string) error
		left  int
	}{
		{"unspent", 0, func(string) error { return nil }, 19},
		{"spent in part", 3, func(string) error { return nil }, 16},
		{"charged by another since", 0, func(key string) error {
			_, err := limits.Take(t.Context(), []ratelimit.Charge{{Key: key, Quota: quota, Cost: 1}}, nil)
			return err
		}, 12},
		{"reset meanwhile", 0, func(key string) error { return limits.Reset(t.Context(), key) }, 20},
	} {
		results, err := limits.Take(t.Context(), []ratelimit.Charge{{Key: tt.name, Quota: quota, Cost: 1, Extra: 6}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := tt.then(tt.name); err != nil {
			t.Fatal(err)
		}
		lease := gcra.Lease{Quota: quota, Tokens: results[0].Extra - tt.spent, Ends: results[0].ResetAfter}
		if err := limits.Return(t.Context(), []ratelimit.LeaseOf{{Key: tt.name, Lease: lease}, {Key: "absent", Lease: lease}}); err != nil {
			t.Fatal(err)
		}
		if r, _, err := limits.Peek(t.Context(), tt.name, quota); err != nil || r.Remaining != tt.left {
			t.Errorf("%s: %+v, %v, want %d left", tt.name, r, err, tt.left)
		}
	}
}

func TestPeekAndReset(t *testing.T) {
	t.Parallel()
	client := openFor(t, env.Redis(t).URL)
	limits := redis.NewLimits(client)
	peek := func(key string, known bool, left int) {
		t.Helper()
		r, k, err := limits.Peek(t.Context(), key, hourly(5))
		if err != nil || k != known || r.Remaining != left {
			t.Errorf("%q: %+v, known %v, %v; want %d left, known %v", key, r, k, err, left, known)
		}
	}
	keys := []string{"a", "{b}", "c|7:{x}|1:y"}
	for _, key := range keys {
		peek(key, false, 5)
		if _, err := limits.Take(t.Context(), []ratelimit.Charge{{Key: key, Quota: hourly(5), Cost: 2}}, nil); err != nil {
			t.Fatal(err)
		}
		peek(key, true, 3)
		peek(key, true, 3)
	}
	if err := limits.Reset(t.Context(), keys[1:]...); err != nil {
		t.Fatal(err)
	}
	peek(keys[0], true, 3)
	peek(keys[1], false, 5)
	peek(keys[2], false, 5)
	if n, err := client.DBSize(t.Context()).Result(); err != nil || n != 1 {
		t.Errorf("%d keys are left, %v", n, err)
	}
}

// The caller of Peek may use another quota than the one that is charged.
func TestPeekChangesNothing(t *testing.T) {
	t.Parallel()
	client := openFor(t, env.Redis(t).URL)
	limits := redis.NewLimits(client)
	if _, err := limits.Take(t.Context(), []ratelimit.Charge{{Key: "k", Quota: hourly(9), Cost: 8}}, nil); err != nil {
		t.Fatal(err)
	}
	before := client.Get(t.Context(), "rate:k").Val()
	if r, known, err := limits.Peek(t.Context(), "k", hourly(2)); err != nil || !known || r.Remaining != 0 {
		t.Errorf("%+v, known %v, %v", r, known, err)
	}
	if after := client.Get(t.Context(), "rate:k").Val(); after != before {
		t.Errorf("%s before Peek, %s after it", before, after)
	}
}

// Seconds since 2017, as floats, are too coarse for single tokens at a billion per second.
func TestAVeryHighRateIsServed(t *testing.T) {
	t.Parallel()
	limits := redis.NewLimits(openFor(t, env.Redis(t).URL))
	quota := gcra.Quota{Rate: 1_000_000_000, Period: time.Second, Burst: 1_000_000_000}
	for _, n := range []int{1, 2} {
		results, err := limits.Take(t.Context(), charges(n, ratelimit.Charge{Quota: quota, Cost: 1}), nil)
		if err != nil || !results[0].Allowed {
			t.Errorf("%d charges: %+v, %v", n, results, err)
		}
	}
}

// A key identifies a client, and errors are written to the log.
func TestErrorsDoNotTellKeys(t *testing.T) {
	t.Parallel()
	const secret = "198.51.100.7"
	client := openFor(t, env.Redis(t).URL)
	limits := redis.NewLimits(client)
	if err := client.LPush(t.Context(), "rate:"+secret, "x").Err(); err != nil {
		t.Fatal(err)
	}
	c := ratelimit.Charge{Key: secret, Quota: hourly(1), Cost: 1}
	other := ratelimit.Charge{Key: "other", Quota: hourly(1), Cost: 1}
	_, err1 := limits.Take(t.Context(), []ratelimit.Charge{c}, nil)
	_, err2 := limits.Take(t.Context(), []ratelimit.Charge{c, other}, nil)
	_, _, err3 := limits.Peek(t.Context(), secret, c.Quota)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for i, err := range []error{
		err1, err2, err3, limits.Refund(t.Context(), []ratelimit.Charge{c}),
		limits.Return(t.Context(), []ratelimit.LeaseOf{{Key: secret, Lease: gcra.Lease{Quota: c.Quota, Tokens: 1}}}),
		limits.Reset(canceled, secret),
	} {
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if results, err := limits.Take(t.Context(), []ratelimit.Charge{other}, nil); err != nil || !results[0].Allowed {
		t.Errorf("the charge beside it was made: %+v, %v", results, err)
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
		t.Error("Open connected")
	}
}

func TestOpenForms(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "redis.sock")
	single := env.Redis(t, "--unixsocket", socket, "--requirepass", "p@ss/word", "--user", "app", "on", ">app-pass", "~*", "+@all")
	cluster := env.Redis(t, "--cluster-enabled", "yes")
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
		env.Eventually(t, recovery, func() error { // a new cluster is down for a moment
			_, err := redis.Probe(client)(t.Context())
			return err
		})
	}
	// Both forms of the database number select the same database.
	for _, form := range []string{"/1", "?db=1"} {
		n, err := openFor(t, "redis://:p%40ss%2Fword@"+single.Addr+form).DBSize(t.Context()).Result()
		if err != nil || n != 1 {
			t.Errorf("%s: %d keys, %v; want the probe's", form, n, err)
		}
	}
}
