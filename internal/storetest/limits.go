// Package storetest holds one suite for each store interface, which every
// implementation passes: what a store promises is written once, here.
package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

// slow is a quota that gives nothing back while a test runs.
func slow(burst int) gcra.Quota { return gcra.Quota{Rate: 1, Period: time.Hour, Burst: burst} }

// Limits tests a ratelimit.Store that runs on the real clock. newStore gives an
// empty store for the test it is called with.
func Limits(t *testing.T, newStore func(t *testing.T) ratelimit.Store) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s ratelimit.Store)
	}{
		{"burst", limitsBurst},
		{"refill", limitsRefill},
		{"cost", limitsCost},
		{"order", limitsOrder},
		{"nothing to charge", limitsNothing},
		{"keys", limitsKeys},
		{"concurrency", limitsConcurrency},
		{"arithmetic", limitsArithmetic},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newStore(t)) })
	}
}

func take(t *testing.T, s ratelimit.Store, charges ...ratelimit.Charge) []gcra.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	results, err := s.Take(ctx, charges)
	if err != nil {
		t.Fatalf("take %v: %v", charges, err)
	}
	return results
}

// take1 makes one charge.
func take1(t *testing.T, s ratelimit.Store, key string, q gcra.Quota, cost int) gcra.Result {
	t.Helper()
	results := take(t, s, ratelimit.Charge{Key: key, Quota: q, Cost: cost})
	if len(results) != 1 {
		t.Fatalf("one charge, %d results", len(results))
	}
	return results[0]
}

// A bucket never used admits its burst, counts down, and then refuses.
func limitsBurst(t *testing.T, s ratelimit.Store) {
	const burst = 7
	q := slow(burst)
	for left := burst - 1; left >= 0; left-- {
		r := take1(t, s, "k", q, 1)
		if !r.Allowed || r.Remaining != left || r.RetryAfter != 0 {
			t.Fatalf("%d left: %+v", left, r)
		}
		if whole := time.Duration(burst-left) * time.Hour; r.ResetAfter > whole || r.ResetAfter < whole-time.Minute {
			t.Fatalf("whole again in %v, want about %v", r.ResetAfter, whole)
		}
	}
	for range 3 { // a refusal costs nothing: the wait does not grow
		r := take1(t, s, "k", q, 1)
		if r.Allowed || r.Remaining != 0 || r.RetryAfter <= 0 || r.RetryAfter > time.Hour {
			t.Fatalf("beyond the burst: %+v", r)
		}
		if r.ResetAfter > burst*time.Hour || r.ResetAfter < burst*time.Hour-time.Minute {
			t.Fatalf("whole again in %v", r.ResetAfter)
		}
	}
}

// What RetryAfter promises is true, and no more than one token comes back then.
func limitsRefill(t *testing.T, s ratelimit.Store) {
	q := gcra.Quota{Rate: 2, Period: 3 * time.Second, Burst: 2}
	start := time.Now()
	take1(t, s, "k", q, 1)
	take1(t, s, "k", q, 1)
	r := take1(t, s, "k", q, 1)
	if time.Since(start) > q.Interval() {
		t.Skip("the machine is too slow for this test")
	}
	if r.Allowed || r.RetryAfter <= 0 || r.RetryAfter > q.Interval() {
		t.Fatalf("an empty bucket: %+v", r)
	}
	time.Sleep(r.RetryAfter + 5*time.Millisecond)
	admitted := 0
	for range 3 {
		if take1(t, s, "k", q, 1).Allowed {
			admitted++
		}
	}
	// Over the whole time the bucket gives its burst and what came back.
	most := int(time.Since(start) / q.Interval())
	if admitted < 1 || admitted > most {
		t.Fatalf("%d admitted after RetryAfter, want 1 to %d", admitted, most)
	}
}

// A charge takes its cost or nothing.
func limitsCost(t *testing.T, s ratelimit.Store) {
	q := slow(10)
	for _, tt := range []struct {
		cost    int
		allowed bool
		left    int
	}{
		{4, true, 6},
		{4, true, 2},
		{3, false, 0},
		{11, false, 0}, // more than ever fits
		{2, true, 0},
		{1, false, 0},
	} {
		if r := take1(t, s, "k", q, tt.cost); r.Allowed != tt.allowed || r.Remaining != tt.left || (r.RetryAfter > 0) == tt.allowed {
			t.Fatalf("cost %d: %+v, want allowed %v, %d left", tt.cost, r, tt.allowed, tt.left)
		}
	}
	if r := take1(t, s, "whole", q, 10); !r.Allowed || r.Remaining != 0 {
		t.Fatalf("the whole burst at once: %+v", r)
	}
	// More than the burst is refused by a bucket that is full, and leaves it so.
	if r := take1(t, s, "more", q, 11); r.Allowed || r.RetryAfter <= 0 {
		t.Fatalf("more than the burst: %+v", r)
	}
	if r := take1(t, s, "more", q, 10); !r.Allowed {
		t.Fatalf("after a refusal that costs nothing: %+v", r)
	}
}

// Charges are made in order, up to and without the first that is refused.
func limitsOrder(t *testing.T, s ratelimit.Store) {
	a := ratelimit.Charge{Key: "a", Quota: slow(5), Cost: 1}
	b := ratelimit.Charge{Key: "b", Quota: slow(2), Cost: 1}
	c := ratelimit.Charge{Key: "c", Quota: slow(5), Cost: 1}
	remaining := func(results []gcra.Result) string {
		var out []string
		for _, r := range results {
			if r.Allowed {
				out = append(out, fmt.Sprint(r.Remaining))
			} else {
				out = append(out, "refused")
			}
		}
		return strings.Join(out, " ")
	}
	for i, want := range []string{"4 1 4", "3 0 3", "2 refused", "1 refused"} {
		if got := remaining(take(t, s, a, b, c)); got != want {
			t.Fatalf("take %d: %q, want %q", i, got, want)
		}
	}
	if got := remaining(take(t, s, c, c, a, b, a)); got != "2 1 0 refused" {
		t.Fatalf("one bucket twice: %q", got)
	}
}

func limitsNothing(t *testing.T, s ratelimit.Store) {
	if results := take(t, s); len(results) != 0 {
		t.Fatalf("no charges: %v", results)
	}
}

// Any bytes are a key of their own.
func limitsKeys(t *testing.T, s ratelimit.Store) {
	keys := []string{
		"", " ", "  ", "a", "A", "a ", " a", "a:", ":a", "a:b", "a\x00", "\x00", "\x00\x00", "\xff", "\xff\xfe", "a\r\nb", "a\r\n", "\n",
		"{", "}", "{}", "{a}", "{a}b", "{a}{b}", "*", "a*", "?", "[a]", `\`, `"`, "'", "%s", "é", "e\u0301", "日本語", "$0\r\n\r\n",
		strings.Repeat("k", 1<<10), strings.Repeat("k", 1<<10+1), strings.Repeat("\x00", 1<<16),
	}
	for _, key := range keys {
		if r := take1(t, s, key, slow(1), 1); !r.Allowed {
			t.Errorf("the key %.20q shares the bucket of another", key)
		}
	}
	for _, key := range keys {
		if r := take1(t, s, key, slow(1), 1); r.Allowed {
			t.Errorf("the key %.20q was forgotten", key)
		}
	}
}

// Callers at the same time get the burst between them, and no more.
func limitsConcurrency(t *testing.T, s ratelimit.Store) {
	const callers, each, burst = 50, 6, 100
	var admitted atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range each {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				results, err := s.Take(ctx, []ratelimit.Charge{{Key: "k", Quota: slow(burst), Cost: 1}})
				cancel()
				if err != nil || len(results) != 1 {
					t.Errorf("%v, %v", results, err)
				} else if results[0].Allowed {
					admitted.Add(1)
				}
			}
		})
	}
	group.Wait()
	if n := admitted.Load(); n != burst {
		t.Errorf("%d admitted, want the burst of %d", n, burst)
	}
}

// Any row of charges gives what internal/gcra says, up to the time that the
// test takes.
func limitsArithmetic(t *testing.T, s ratelimit.Store) {
	const tolerance = 30 * time.Second
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	quotas := []gcra.Quota{slow(1), slow(9), {Rate: 7, Period: 24 * time.Hour, Burst: 20}, {Rate: 3, Period: 1000 * time.Hour, Burst: 3}}
	tats := make([]int64, len(quotas))
	near := func(a, b time.Duration) bool { return (a - b).Abs() < tolerance }
	for range 200 {
		i, cost := rng.IntN(len(quotas)), rng.IntN(5)
		var want gcra.Result
		tats[i], want = quotas[i].Take(tats[i], time.Now().UnixNano(), cost)
		got := take1(t, s, fmt.Sprint("k", i), quotas[i], cost)
		if got.Allowed != want.Allowed || got.Remaining != want.Remaining ||
			!near(got.RetryAfter, want.RetryAfter) || !near(got.ResetAfter, want.ResetAfter) {
			t.Fatalf("seed %d: %+v, cost %d: %+v, want %+v", seed, quotas[i], cost, got, want)
		}
	}
}
