package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
)

// settlement is a settlement, in hours, for a bucket of ten tokens at one per hour.
func settlement(id, key string, atLeast, add int) ratelimit.Settlement {
	hours := func(n int) time.Duration { return time.Duration(n) * time.Hour }
	return ratelimit.Settlement{ID: id, Key: key, Debt: gcra.Debt{Quota: hourly(10), AtLeast: hours(atLeast), Add: hours(add)}}
}

// about reports whether a bucket is full in that many hours, apart from the time that the test
// takes.
func about(d time.Duration, hours int) bool {
	want := time.Duration(hours) * time.Hour
	return d <= want+clockStep && d >= max(want-time.Minute, 0)
}

// used returns how many tokens of a bucket of ten are used.
func used(t *testing.T, l *redis.Limits, key string) int {
	t.Helper()
	r, _, err := l.Peek(t.Context(), key, hourly(10))
	if err != nil {
		t.Fatal(err)
	}
	return int((r.ResetAfter + time.Minute) / time.Hour)
}

// settling is a sequence of settlements with the same results in every topology.
func settling(t *testing.T, limits *redis.Limits) {
	for i, tt := range []struct {
		s    ratelimit.Settlement
		want int // hours until the bucket is full
	}{
		{settlement("1", "a", 0, 3), 3},
		{settlement("1", "a", 0, 3), 3}, // the same again
		{settlement("2", "a", 0, 3), 6},
		{settlement("1", "b", 0, 2), 2},   // of another bucket
		{settlement("3", "a", 4, 0), 6},   // already further ahead
		{settlement("4", "a", 8, 1), 9},   // raised first
		{settlement("4", "a", 10, 1), 10}, // a repetition raises too
		{settlement("5", "b", 0, 70), 10}, // capped at an empty bucket
		{settlement("6", "c", 70, 70), 10},
		{settlement("7", "d", 5, 0), 5},
		{settlement("7", "d", 5, 0), 5},
		{settlement("8", "e", 0, 0), 0},
		{settlement("1", "{f}", 2, 1), 3}, // a brace does not choose the slot
		{settlement("1", "{f}", 2, 1), 3},
		{settlement("1", "g}{", 2, 1), 3},
		{settlement("1", "{}h", 2, 1), 3},
	} {
		whole, err := limits.Settle(t.Context(), []ratelimit.Settlement{tt.s})
		if err != nil || len(whole) != 1 || !about(whole[0], tt.want) {
			t.Errorf("%d: %+v: %v, %v, want %d hours", i, tt.s, whole, err, tt.want)
		}
		if got := used(t, limits, tt.s.Key); got != tt.want {
			t.Errorf("%d: %+v: %d hours, want %d", i, tt.s, got, tt.want)
		}
	}
	var many []ratelimit.Settlement
	for i := range 128 {
		many = append(many, settlement(fmt.Sprint("many-", i), fmt.Sprint("many-", i), i%3, i%5))
	}
	for range 2 {
		whole, err := limits.Settle(t.Context(), many)
		if err != nil || len(whole) != len(many) {
			t.Fatalf("%d of %d, %v", len(whole), len(many), err)
		}
		for i, d := range whole {
			if want := i%3 + i%5; !about(d, want) {
				t.Errorf("%d of many: %v, want %d hours", i, d, want)
			}
		}
	}
	if whole, err := limits.Settle(t.Context(), nil); err != nil || len(whole) != 0 {
		t.Errorf("nothing: %v, %v", whole, err)
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	client := openFor(t, server.URL)
	limits := redis.NewLimits(openFor(t, restrict(t, server.URL, "", server))) // with the documented rights only
	settling(t, limits)

	emptyLimits(t, client)
	if _, err := limits.Settle(t.Context(), []ratelimit.Settlement{settlement("1", "a", 3, 0), settlement("2", "b", 0, 3)}); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 3 {
		t.Errorf("%q, %v; want two buckets, and a marker for what was added", keys, err)
	}
	for _, key := range keys {
		ttl, err := client.TTL(t.Context(), key).Result()
		if err != nil || ttl <= 9*time.Minute || ttl > 3*time.Hour {
			t.Errorf("%s lives for %v, %v", key, ttl, err)
		}
	}
}

// A key that holds no bucket does not prevent the other settlements.
func TestSettleBesideABrokenKey(t *testing.T) {
	t.Parallel()
	client := openFor(t, env.Redis(t).URL)
	limits := redis.NewLimits(client)
	if err := client.LPush(t.Context(), "rate:broken", "x").Err(); err != nil {
		t.Fatal(err)
	}
	whole, err := limits.Settle(t.Context(), []ratelimit.Settlement{settlement("1", "a", 0, 3), settlement("2", "broken", 1, 3), settlement("3", "b", 2, 0)})
	if err != nil || len(whole) != 3 || !about(whole[0], 3) || !about(whole[1], 1) || !about(whole[2], 2) {
		t.Errorf("%v, %v", whole, err)
	}
}

// A gateway that does not get a reply sends the settlement again.
func TestSettleAgainAfterALostReply(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	proxy, err := faultproxy.Listen(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	limits := redis.NewLimits(openFor(t, proxy.URL()))
	owed := []ratelimit.Settlement{settlement("1", "a", 1, 3), settlement("2", "b", 0, 2)}
	if _, err := limits.Settle(t.Context(), []ratelimit.Settlement{settlement("0", "other", 0, 1)}); err != nil { // loads the script
		t.Fatal(err)
	}
	if err := proxy.Set(faultproxy.Fault{Drop: true}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if whole, err := limits.Settle(ctx, owed); err == nil {
		t.Fatalf("it got a reply: %v", whole)
	}
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	direct := redis.NewLimits(openFor(t, server.URL))
	env.Until(t, "the server got the settlement", func() bool { return used(t, direct, "b") > 0 })
	var whole []time.Duration
	env.Eventually(t, recovery, func() (err error) { // the pool may still hold reset connections
		whole, err = limits.Settle(t.Context(), owed)
		return err
	})
	if len(whole) != 2 || !about(whole[0], 4) || !about(whole[1], 2) {
		t.Error(whole)
	}
}

// A server that lost settlements, all of them or the latest, is sent those again, and only those.
func TestSettleAgainAfterALoss(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	client := openFor(t, server.URL)
	limits := redis.NewLimits(client)
	settle := func(want int, s ...ratelimit.Settlement) {
		t.Helper()
		var whole []time.Duration
		env.Eventually(t, recovery, func() (err error) { // until connections to the old server are gone
			whole, err = limits.Settle(t.Context(), s)
			return err
		})
		if !about(whole[0], want) {
			t.Errorf("%v, want %d hours", whole, want)
		}
	}
	first, second := settlement("1", "a", 0, 3), settlement("2", "a", 0, 2)
	settle(3, first)
	admin(t, server, "SAVE")
	settle(5, second)
	server.Kill()
	server.Restart(false) // with the first one only
	settle(3, first)
	settle(5, second)
	settle(5, first)
	admin(t, server, "FLUSHALL")
	settle(2, second)
	settle(5, first)
}
