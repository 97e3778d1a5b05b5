package gcra_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/gcra"
)

func ExampleQuota_Take() {
	q := gcra.Quota{Rate: 60, Period: time.Minute, Burst: 2}
	now := time.Unix(1_700_000_000, 0).UnixNano()
	var tat int64
	for range 3 {
		var r gcra.Result
		tat, r = q.Take(tat, now, 1)
		fmt.Println(r.Allowed, r.Remaining, r.RetryAfter, r.ResetAfter)
	}
	// Output:
	// true 1 0s 1s
	// true 0 0s 2s
	// false 0 1s 2s
}

const start = int64(1_700_000_000_000_000_000)

func TestTake(t *testing.T) {
	q := gcra.Quota{Rate: 10, Period: time.Second, Burst: 5} // a token every 100 ms
	type step struct {
		at   time.Duration
		n    int
		want gcra.Result
	}
	for _, tc := range []struct {
		sentence string
		steps    []step
	}{
		{"a bucket never used is full", []step{{0, 5, gcra.Result{Allowed: true, ResetAfter: 500 * time.Millisecond}}}},
		{"a charge above the burst is never admitted", []step{{0, 6, gcra.Result{Remaining: 5, RetryAfter: 100 * time.Millisecond}}}},
		{"a refusal costs nothing", []step{
			{0, 4, gcra.Result{Allowed: true, Remaining: 1, ResetAfter: 400 * time.Millisecond}},
			{0, 2, gcra.Result{Remaining: 1, RetryAfter: 100 * time.Millisecond, ResetAfter: 400 * time.Millisecond}},
			{0, 1, gcra.Result{Allowed: true, ResetAfter: 500 * time.Millisecond}},
		}},
		{"tokens come back one by one", []step{
			{0, 5, gcra.Result{Allowed: true, ResetAfter: 500 * time.Millisecond}},
			{99 * time.Millisecond, 1, gcra.Result{RetryAfter: time.Millisecond, ResetAfter: 401 * time.Millisecond}},
			{100 * time.Millisecond, 1, gcra.Result{Allowed: true, ResetAfter: 500 * time.Millisecond}},
		}},
		{"a full bucket does not overflow", []step{
			{0, 1, gcra.Result{Allowed: true, Remaining: 4, ResetAfter: 100 * time.Millisecond}},
			{time.Hour, 1, gcra.Result{Allowed: true, Remaining: 4, ResetAfter: 100 * time.Millisecond}},
		}},
		{"a clock that was set back blocks for no longer than an empty bucket", []step{
			{time.Hour, 5, gcra.Result{Allowed: true, ResetAfter: 500 * time.Millisecond}},
			{0, 1, gcra.Result{RetryAfter: 100 * time.Millisecond, ResetAfter: 500 * time.Millisecond}},
			{100 * time.Millisecond, 1, gcra.Result{Allowed: true, ResetAfter: 500 * time.Millisecond}},
		}},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			var tat int64
			for i, s := range tc.steps {
				var got gcra.Result
				if tat, got = q.Take(tat, start+int64(s.at), s.n); got != s.want {
					t.Errorf("step %d: got %+v, want %+v", i, got, s.want)
				}
			}
		})
	}
}

// In any window W at most B + rW tokens are given out, and a client that waits for RetryAfter is
// admitted.
func TestTakeHoldsItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := gcra.Quota{
			Rate:   rapid.IntRange(1, 1000).Draw(t, "rate"),
			Period: time.Duration(rapid.IntRange(1, 3600).Draw(t, "seconds")) * time.Second,
			Burst:  rapid.IntRange(1, 50).Draw(t, "burst"),
		}
		type grant struct{ at, n int64 }
		var grants []grant
		var tat int64
		now := start
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.Int64Range(0, 3*int64(q.Interval())).Draw(t, "gap")
			n := rapid.IntRange(1, q.Burst).Draw(t, "n")
			next, r := q.Take(tat, now, n)
			if !r.Allowed {
				if next != max(tat, now) && next != tat {
					t.Fatalf("a refusal moved the bucket from %d to %d", tat, next)
				}
				if _, again := q.Take(next, now+int64(r.RetryAfter), n); !again.Allowed {
					t.Fatalf("refused again after RetryAfter %v: %+v", r.RetryAfter, again)
				}
				if _, early := q.Take(next, now+int64(r.RetryAfter)-1, n); early.Allowed {
					t.Fatalf("admitted before RetryAfter %v", r.RetryAfter)
				}
			} else {
				grants = append(grants, grant{now, int64(n)})
			}
			tat = next
		}
		for i := range grants {
			sum := int64(0)
			for j := i; j < len(grants); j++ {
				sum += grants[j].n
				window := grants[j].at - grants[i].at
				if bound := int64(q.Burst) + window/int64(q.Interval()) + 1; sum > bound {
					t.Fatalf("%d tokens in %v, bound %d", sum, time.Duration(window), bound)
				}
			}
		}
	})
}
