// Package storetest holds one conformance suite for each store interface. Every implementation must
// pass it.
package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

// slow is a quota that refills nothing while a test runs.
func slow(burst int) gcra.Quota { return gcra.Quota{Rate: 1, Period: time.Hour, Burst: burst} }

// Limits tests a ratelimit.Store that uses the real clock. newStore returns an empty store.
func Limits(t *testing.T, newStore func(t *testing.T) ratelimit.Store) {
	for _, tt := range limitsTests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newStore(t)) })
	}
}

func take(t *testing.T, s ratelimit.Store, charges ...ratelimit.Charge) []gcra.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	results, err := s.Take(ctx, charges, nil)
	if err != nil {
		t.Fatalf("take %v: %v", charges, err)
	}
	if len(results) != len(charges) {
		t.Fatalf("%d charges, %d results", len(charges), len(results))
	}
	return results
}

// take1 makes one charge.
func take1(t *testing.T, s ratelimit.Store, key string, q gcra.Quota, cost int) gcra.Result {
	t.Helper()
	return take(t, s, ratelimit.Charge{Key: key, Quota: q, Cost: cost})[0]
}

func refund(t *testing.T, s ratelimit.Store, charges ...ratelimit.Charge) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Refund(ctx, charges); err != nil {
		t.Fatalf("refund %v: %v", charges, err)
	}
}

// about reports whether d is was minus at most a minute, the longest that a test runs.
func about(d, was time.Duration) bool { return d <= was && d >= was-time.Minute }

// charge returns a charge of a slow bucket.
func charge(key string, burst, cost int) ratelimit.Charge {
	return ratelimit.Charge{Key: key, Quota: slow(burst), Cost: cost}
}

// contend makes callers take charges concurrently, each of them often times. Callers use the rows in
// turn. It returns how often each row was admitted.
func contend(t *testing.T, s ratelimit.Store, callers, often int, rows ...[]ratelimit.Charge) []int {
	t.Helper()
	var mu sync.Mutex
	admitted := make([]int, len(rows))
	var group sync.WaitGroup
	for caller := range callers {
		row := caller % len(rows)
		group.Go(func() {
			for range often {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				results, err := s.Take(ctx, rows[row], nil)
				cancel()
				if err != nil || len(results) != len(rows[row]) {
					t.Errorf("%v, %v", results, err)
				} else if !strings.Contains(verdicts(results), "!") {
					mu.Lock()
					admitted[row]++
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return admitted
}

// verdicts formats results: the remaining tokens, with a ! for a refusal.
func verdicts(results []gcra.Result) string {
	var out []string
	for _, r := range results {
		text := fmt.Sprint(r.Remaining)
		if !r.Allowed {
			text += "!"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

var limitsTests = []struct {
	name string
	test func(t *testing.T, s ratelimit.Store)
}{
	{"a bucket never used admits its burst, counts down, and then refuses", func(t *testing.T, s ratelimit.Store) {
		const burst = 7
		q := slow(burst)
		for left := burst - 1; left >= 0; left-- {
			r := take1(t, s, "k", q, 1)
			if !r.Allowed || r.Remaining != left || r.RetryAfter != 0 {
				t.Fatalf("%d left: %+v", left, r)
			}
			if whole := time.Duration(burst-left) * time.Hour; !about(r.ResetAfter, whole) {
				t.Fatalf("whole again in %v, want about %v", r.ResetAfter, whole)
			}
		}
		for range 3 { // a refusal costs nothing: the wait does not grow
			r := take1(t, s, "k", q, 1)
			if r.Allowed || r.Remaining != 0 || r.RetryAfter <= 0 || r.RetryAfter > time.Hour {
				t.Fatalf("beyond the burst: %+v", r)
			}
			if !about(r.ResetAfter, burst*time.Hour) {
				t.Fatalf("whole again in %v", r.ResetAfter)
			}
		}
	}},
	{"after RetryAfter one token is back, and no more", func(t *testing.T, s ratelimit.Store) {
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
		// In total the bucket admits its burst and what was refilled.
		most := int(time.Since(start) / q.Interval())
		if admitted < 1 || admitted > most {
			t.Fatalf("%d admitted after RetryAfter, want 1 to %d", admitted, most)
		}
	}},
	{"a charge takes its cost or nothing", func(t *testing.T, s ratelimit.Store) {
		for _, tt := range []struct {
			key     string
			cost    int
			allowed bool
			left    int
		}{
			{"k", 4, true, 6},
			{"k", 4, true, 2},
			{"k", 3, false, 2},
			{"k", 11, false, 2}, // more than the burst
			{"k", 2, true, 0},
			{"k", 1, false, 0},
			{"whole", 10, true, 0},
			{"more", 11, false, 10}, // refused by a full bucket, which stays full
			{"more", 10, true, 0},
		} {
			r := take1(t, s, tt.key, slow(10), tt.cost)
			if r.Allowed != tt.allowed || r.Remaining != tt.left || (r.RetryAfter > 0) == tt.allowed {
				t.Fatalf("cost %d: %+v, want allowed %v, %d left", tt.cost, r, tt.allowed, tt.left)
			}
		}
	}},
	{"if one charge is refused none is made, in any order, and each result is of its own limit", func(t *testing.T, s ratelimit.Store) {
		a := charge("a", 5, 1)
		b := charge("b", 2, 1)
		c := charge("c", 6, 2)
		for i, tt := range []struct {
			charges []ratelimit.Charge
			want    string
		}{
			{[]ratelimit.Charge{a, b, c}, "4 1 4"},
			{[]ratelimit.Charge{a, b, c}, "3 0 2"},
			{[]ratelimit.Charge{a, b, c}, "3 0! 2"},
			{[]ratelimit.Charge{b, a, c}, "0! 3 2"},
			{[]ratelimit.Charge{c, a, b}, "2 3 0!"},
			{[]ratelimit.Charge{c, a}, "0 2"},
			{[]ratelimit.Charge{c, b, a}, "0! 0! 2"},
			{[]ratelimit.Charge{a}, "1"},
		} {
			results := take(t, s, tt.charges...)
			if got := verdicts(results); got != tt.want {
				t.Fatalf("take %d: %q, want %q", i, got, tt.want)
			}
			for k, r := range results {
				if (r.RetryAfter > 0) == r.Allowed {
					t.Errorf("take %d: %+v", i, r)
				}
				// A charge that was not made must not affect the bucket's reset time either.
				used := tt.charges[k].Quota.Burst - r.Remaining
				if !about(r.ResetAfter, time.Duration(used)*time.Hour) {
					t.Errorf("take %d: %d tokens are used, whole in %v", i, used, r.ResetAfter)
				}
			}
		}
	}},
	{"a shadow limit never refuses, and is only charged together with the others", func(t *testing.T, s ratelimit.Store) {
		shadow := ratelimit.Charge{Key: "shadow", Quota: slow(2), Cost: 1, Shadow: true}
		enforced := charge("enforced", 4, 1)
		refused := charge("refused", 1, 2)
		for i, tt := range []struct {
			charges []ratelimit.Charge
			want    string
		}{
			{[]ratelimit.Charge{shadow, enforced}, "1 3"},
			{[]ratelimit.Charge{shadow, enforced, refused}, "1 3 1!"},
			{[]ratelimit.Charge{enforced, shadow}, "2 0"},
			{[]ratelimit.Charge{shadow, enforced}, "0! 1"},
			{[]ratelimit.Charge{shadow}, "0!"},
			{[]ratelimit.Charge{enforced, shadow}, "0 0!"},
			{[]ratelimit.Charge{enforced, shadow}, "0! 0!"},
		} {
			if got := verdicts(take(t, s, tt.charges...)); got != tt.want {
				t.Fatalf("take %d: %q, want %q", i, got, tt.want)
			}
		}
	}},
	{"a charge of 0 is admitted, and returns the remaining tokens", func(t *testing.T, s ratelimit.Store) {
		q := slow(2)
		for _, left := range []int{2, 1, 0} {
			for range 2 {
				if r := take1(t, s, "k", q, 0); !r.Allowed || r.Remaining != left {
					t.Fatalf("with %d left: %+v", left, r)
				}
			}
			take1(t, s, "k", q, 1)
		}
	}},
	{"refunded tokens can be taken again, and a full bucket does not overflow", func(t *testing.T, s ratelimit.Store) {
		a := charge("a", 5, 2)
		b := charge("b", 1, 1)
		never := charge("never charged", 3, 2)
		refund(t, s)
		take(t, s, a, b)
		if got := verdicts(take(t, s, a, b)); got != "3 0!" {
			t.Fatalf("before: %q", got)
		}
		refund(t, s, a, b, never)
		if got := verdicts(take(t, s, a, b, never)); got != "3 0 1" {
			t.Fatalf("after a full refund: %q", got)
		}
		take(t, s, a)
		refund(t, s, a) // one of two
		if r := take1(t, s, "a", a.Quota, 0); r.Remaining != 3 || !about(r.ResetAfter, 2*time.Hour) {
			t.Fatalf("after one refund of two: %+v", r)
		}
		for range 3 {
			refund(t, s, a)
		}
		if got := verdicts(take(t, s, a, ratelimit.Charge{Key: "a", Quota: a.Quota, Cost: 3})); got != "3 0" {
			t.Fatalf("after refunding more than was taken: %q", got)
		}
		if got := verdicts(take(t, s, a)); got != "0!" {
			t.Fatalf("the bucket has overflowed: %q", got)
		}
	}},
	{"results are appended to the given slice", func(t *testing.T, s ratelimit.Store) {
		before := gcra.Result{Remaining: 4711}
		for _, keys := range []string{"a", "bc", "def"} {
			var charges []ratelimit.Charge
			for key := range strings.SplitSeq(keys, "") {
				charges = append(charges, charge(key, 3, 1))
			}
			results, err := s.Take(t.Context(), charges, append(make([]gcra.Result, 0, 8), before))
			if err != nil || len(results) != 1+len(charges) || results[0] != before {
				t.Fatalf("%q: %+v, %v", keys, results, err)
			}
			for _, r := range results[1:] {
				if !r.Allowed || r.Remaining != 2 {
					t.Errorf("%q: %+v", keys, r)
				}
			}
		}
	}},
	{"no charges give no results", func(t *testing.T, s ratelimit.Store) {
		if results := take(t, s); len(results) != 0 {
			t.Fatalf("no charges: %v", results)
		}
	}},
	{"keys may be any bytes, and each has its own bucket", func(t *testing.T, s ratelimit.Store) {
		keys := []string{
			"", " ", "  ", "a", "A", "a ", " a", "a:", ":a", "a:b", "a\x00", "\x00", "\x00\x00", "\xff", "\xff\xfe", "a\r\nb", "a\r\n", "\n",
			"{", "}", "{}", "{a}", "{a}b", "{a}{b}", "}{", "a}", "*", "a*", "?", "[a]", `\`, `"`, "'", "%s", "é", "e\u0301", "日本語", "$0\r\n\r\n",
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
		other := charge("other", 1000, 1)
		for _, key := range keys { // the same bucket in a row with another limit
			c := charge(key, 1, 1)
			if r := take(t, s, other, c); !r[0].Allowed || r[1].Allowed {
				t.Errorf("the key %.20q has another bucket in a row of charges", key)
			}
			refund(t, s, c)
			if r := take(t, s, other, c); !r[1].Allowed {
				t.Errorf("the key %.20q was not refunded", key)
			}
		}
	}},
	{"concurrent callers together get exactly the burst", func(t *testing.T, s ratelimit.Store) {
		const burst = 100
		if n := contend(t, s, 50, 6, []ratelimit.Charge{charge("k", burst, 1)})[0]; n != burst {
			t.Errorf("%d admitted, want the burst of %d", n, burst)
		}
	}},
	{"overlapping limits have each charged exactly the admitted requests in the end", func(t *testing.T, s ratelimit.Store) {
		const burst = 150
		a, b, c := charge("a", burst, 1), charge("b", burst, 1), charge("c", burst, 1)
		admitted := contend(t, s, 64, 8, []ratelimit.Charge{a, b}, []ratelimit.Charge{b, c})
		ab, bc := admitted[0], admitted[1]
		if ab+bc > burst || ab+bc == 0 {
			t.Errorf("%d and %d admitted by a limit of %d", ab, bc, burst)
		}
		left := verdicts(take(t, s, charge("a", burst, 0), charge("b", burst, 0), charge("c", burst, 0)))
		if want := fmt.Sprint(burst-ab, burst-ab-bc, burst-bc); left != want {
			t.Errorf("%d and %d admitted: the limits have %s left, want %s", ab, bc, left, want)
		}
	}},
	{"any sequence of charges matches internal/gcra, within the duration of the test", func(t *testing.T, s ratelimit.Store) {
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
	}},
}
