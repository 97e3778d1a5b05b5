package redis_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/test/env"
)

const (
	// year2017 is the zero of buckets' times, in Unix seconds.
	year2017 = 1483228800
	// clockStep is the precision of times: Redis counts microseconds, and a TAT has 53 bits for its
	// seconds.
	clockStep = 2 * time.Microsecond
)

// buckets reads and changes the buckets of a server.
type buckets struct {
	*testing.T
	client goredis.UniversalClient
}

// now is the server's time in nanoseconds since 2017.
func (b buckets) now() int64 {
	b.Helper()
	now, err := b.client.Time(b.Context()).Result()
	if err != nil {
		b.Fatal(err)
	}
	return now.Add(-year2017 * time.Second).UnixNano()
}

// tat is the theoretical arrival time of a bucket, in the same unit; 0: none.
func (b buckets) tat(key string) int64 {
	b.Helper()
	seconds, err := b.client.Get(b.Context(), "rate:"+key).Float64()
	if err != nil && !errors.Is(err, goredis.Nil) {
		b.Fatal(err)
	}
	return int64(seconds * 1e9)
}

// setTAT simulates that time passes for a bucket, or that a clock was set back.
func (b buckets) setTAT(key string, tat int64) {
	b.Helper()
	text := strconv.FormatFloat(float64(tat)/1e9, 'g', 17, 64)
	if err := b.client.Set(b.Context(), "rate:"+key, text, time.Hour).Err(); err != nil {
		b.Fatal(err)
	}
}

func (b buckets) wait(key string, d time.Duration) {
	b.Helper()
	if tat := b.tat(key); tat > 0 && d > 0 {
		b.setTAT(key, tat-int64(d))
	}
}

// TestScriptsAgree makes the same charges with redis_rate and with this package's script. The
// results and the stored buckets must equal those of internal/gcra for the earlier bucket, at a
// time between before and after the call.
func TestScriptsAgree(t *testing.T) {
	t.Parallel()
	b := buckets{t, openFor(t, env.Redis(t).URL)}
	limits := redis.NewLimits(b.client)
	partner := ratelimit.Charge{Key: "partner", Quota: gcra.Quota{Rate: 1e6, Period: time.Second, Burst: 1e6}, Cost: 1}
	histories := 0
	rapid.Check(t, func(rt *rapid.T) {
		histories++
		q := gcra.Quota{
			Rate:   rapid.IntRange(1, 1000).Draw(rt, "rate"),
			Period: rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 15 * time.Minute, time.Hour, 1000 * time.Hour}).Draw(rt, "period"),
			Burst:  rapid.IntRange(1, 50).Draw(rt, "burst"),
		}
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			c := ratelimit.Charge{Quota: q, Cost: rapid.IntRange(0, q.Burst+1).Draw(rt, "cost")}
			wait := rapid.OneOf(
				rapid.Just(time.Duration(0)),
				rapid.Map(rapid.IntRange(1, q.Burst+1), func(n int) time.Duration { return time.Duration(n) * q.Interval() }),
				rapid.Custom(func(t *rapid.T) time.Duration {
					return time.Duration(rapid.Int64Range(0, int64(q.Whole())).Draw(t, "ns"))
				}),
				rapid.Just(-q.Whole()-2*q.Interval()), // a clock was set back
			).Draw(rt, "wait")
			for _, key := range []string{"alone", "together"} {
				c.Key = fmt.Sprint(key, histories)
				if wait < 0 {
					b.setTAT(c.Key, max(b.tat(c.Key), b.now())-int64(wait))
				}
				b.wait(c.Key, wait)
				all := []ratelimit.Charge{c}
				if key == "together" {
					all = append(all, partner)
				}
				mustAgree(rt, b, c, func() gcra.Result {
					results, err := limits.Take(t.Context(), all, nil)
					if err != nil {
						rt.Fatal(err)
					}
					return results[0]
				})
			}
		}
	})
}

func mustAgree(rt *rapid.T, b buckets, c ratelimit.Charge, charge func() gcra.Result) {
	b.Helper()
	old, before := b.tat(c.Key), b.now()
	got := charge()
	after, stored := b.now(), b.tat(c.Key)
	const step = int64(clockStep)
	first, early := c.Quota.Take(old, before-step, c.Cost)
	last, late := c.Quota.Take(old, after+step, c.Cost)
	within := func(d, from, to time.Duration) bool { return d >= from-clockStep && d <= to+clockStep }
	switch {
	case early.Allowed != late.Allowed:
		return // it became due during the call
	case old > before+int64(c.Quota.Whole()) && old <= after+int64(c.Quota.Whole()+c.Quota.Interval()):
		return // at the border of the allowed range, where redis_rate decides
	case got.Allowed != late.Allowed, got.Remaining < early.Remaining, got.Remaining > late.Remaining,
		!within(got.ResetAfter, late.ResetAfter, early.ResetAfter),
		got.Allowed && got.RetryAfter != 0,
		!got.Allowed && (got.RetryAfter <= 0 || !within(got.RetryAfter, late.RetryAfter, early.RetryAfter)):
		rt.Fatalf("%s, %+v, cost %d, of TAT %v ahead: %+v, want between %+v and %+v",
			c.Key, c.Quota, c.Cost, time.Duration(old-before), got, early, late)
	case !got.Allowed || c.Cost == 0:
		drawnIn := old > after+int64(c.Quota.Whole()) && stored >= first-step && stored <= last+step
		if stored != old && !drawnIn {
			rt.Fatalf("%s: nothing was charged, and its TAT went from %d to %d", c.Key, old, stored)
		}
		return
	case stored < first-step || stored > last+step:
		rt.Fatalf("%s: its TAT went from %d to %d, want between %d and %d", c.Key, old, stored, first, last)
	}
	ttl, err := b.client.PTTL(b.Context(), "rate:"+c.Key).Result()
	if left := time.Duration(stored - after); err != nil || ttl < left-time.Second/2 && ttl < left || ttl > left+2*time.Second {
		rt.Fatalf("%s: lives for %v, %v; its bucket is full in %v", c.Key, ttl, err, left)
	}
}

// If a clock was set back or a limit was lowered, nothing is blocked for longer than a whole
// bucket, whether redis_rate or this package's script makes the charge.
func TestATATFarAheadIsAnEmptyBucket(t *testing.T) {
	t.Parallel()
	b := buckets{t, openFor(t, env.Redis(t).URL)}
	limits := redis.NewLimits(b.client)
	for _, n := range []int{1, 2} {
		all := charges(n, ratelimit.Charge{Quota: hourly(3), Cost: 1})
		b.setTAT("k0", b.now()+int64(1000*time.Hour))
		results, err := limits.Take(t.Context(), all, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := results[0]; r.Allowed || r.Remaining != 0 || r.RetryAfter > time.Hour || r.ResetAfter > 3*time.Hour {
			t.Errorf("%d charges: %+v", n, r)
		}
		b.wait("k0", time.Hour+time.Minute) // from then on it fills like any other
		if results, err = limits.Take(t.Context(), all, nil); err != nil || !results[0].Allowed {
			t.Errorf("%d charges, an hour later: %+v, %v", n, results, err)
		}
	}
	// A value that is not a number counts as no bucket.
	for _, text := range []string{"", "x", "nan", "inf", "-inf"} {
		if err := b.client.Set(t.Context(), "rate:k0", text, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		all := charges(2, ratelimit.Charge{Quota: hourly(3), Cost: 1})
		if results, err := limits.Take(t.Context(), all, nil); err != nil || results[0].ResetAfter > 3*time.Hour {
			t.Errorf("%q: %+v, %v", text, results, err)
		}
	}
}

// If a shadow and a limit use the same bucket, or a bucket is charged twice, the sum counts.
func TestOneBucketTwice(t *testing.T) {
	t.Parallel()
	limits := redis.NewLimits(openFor(t, env.Redis(t).URL))
	c := ratelimit.Charge{Key: "k", Quota: gcra.Quota{Rate: 10, Period: 3 * time.Hour, Burst: 3}, Cost: 1}
	for i, want := range []string{"true 2, true 1", "true 1, false 1", "true 0"} {
		n := 2
		if i == 2 {
			n = 1
		}
		all := make([]ratelimit.Charge, n)
		for k := range all {
			all[k] = c
		}
		results, err := limits.Take(t.Context(), all, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for k, r := range results {
			if k > 0 {
				got += ", "
			}
			got += fmt.Sprint(r.Allowed, " ", r.Remaining)
		}
		if got != want {
			t.Errorf("take %d: %s, want %s", i, got, want)
		}
	}
}
