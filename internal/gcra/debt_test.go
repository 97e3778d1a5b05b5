package gcra_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/gcra"
)

// tenASecond gives a token every 100 ms, with a burst of ten.
var tenASecond = gcra.Quota{Rate: 10, Period: time.Second, Burst: 10}

const token = 100 * time.Millisecond

// alone charges a token without the store, which must admit it.
func alone(t *testing.T, b *gcra.Bucket, now int64, n int) gcra.Step {
	t.Helper()
	step, _ := b.Admit(tenASecond, now, 1)
	if step.Kind != gcra.Ask {
		t.Fatalf("not left to the store: %+v", step)
	}
	if r := b.Alone(tenASecond, now, 1, n); !r.Allowed {
		t.Fatalf("refused alone: %+v", r)
	}
	return step
}

// told records a charge of one that the store admitted, and its present TAT.
func told(b *gcra.Bucket, now int64, ahead time.Duration) {
	b.Admit(tenASecond, now, 1)
	b.Granted(gcra.Result{Allowed: true, ResetAfter: ahead}, 1, now, now)
}

func TestDebt(t *testing.T) {
	for _, tc := range []struct {
		sentence string
		do       func(t *testing.T, b *gcra.Bucket) (at int64)
		atLeast  time.Duration
		add      time.Duration
	}{
		{"a new bucket owes nothing", func(*testing.T, *gcra.Bucket) int64 { return start }, 0, 0},
		{"a charge admitted alone is owed once, whatever the share", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 3)
			alone(t, b, start, 3)
			return start
		}, 0, 2 * token},
		{"a share refills at its part of the rate", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 2)
			return start + int64(token)
		}, 0, token / 2},
		{"the store's own TAT is kept, not added", func(t *testing.T, b *gcra.Bucket) int64 {
			told(b, start, 5*token)
			alone(t, b, start, 2)
			return start
		}, 5 * token, token},
		{"a charge admitted by the store does not reduce the debt", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 2)
			for i := range 4 {
				told(b, start, time.Duration(i+1)*token)
			}
			return start
		}, 4 * token, token},
		{"a charge refused by the store does not reduce the debt", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 2)
			b.Refused(gcra.Result{ResetAfter: 10 * token}, start)
			return start
		}, 10 * token, token},
		{"a settled charge is not owed again", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 2)
			b.Settled(b.Debt(start), start, token)
			return start
		}, token, 0},
		{"a charge admitted during a settlement is still owed", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 2)
			d := b.Debt(start)
			alone(t, b, start, 2)
			told(b, start, 3*token)
			b.Settled(d, start, 4*token)
			return start
		}, 4 * token, token},
		{"it is owed even if the settled tokens have come back", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 2)
			d := b.Debt(start)
			at := start + int64(time.Second)
			alone(t, b, at, 2)
			b.Settled(d, at, 0)
			return at
		}, 0, token},
		{"with more gateways meanwhile, the debt is what was admitted", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 1)
			alone(t, b, start, 1)
			alone(t, b, start, 2)
			return start
		}, 0, 3 * token},
		{"with fewer gateways during a settlement, the debt does not grow", func(t *testing.T, b *gcra.Bucket) int64 {
			d := b.Debt(start)
			alone(t, b, start, 4)
			alone(t, b, start, 1)
			b.Settled(d, start, 0)
			return start
		}, 0, 2 * token},
		{"an undone charge is not owed", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 3)
			b.Undo(alone(t, b, start, 3), start)
			b.UndoAlone(1)
			return start
		}, 0, token},
		{"a charge that the store may have made is raised, not added", func(_ *testing.T, b *gcra.Bucket) int64 {
			told(b, start, token)
			b.Admit(tenASecond, start, 2)
			return start
		}, 3 * token, 0},
		{"the same besides a charge admitted alone", func(t *testing.T, b *gcra.Bucket) int64 {
			b.Admit(tenASecond, start, 2)
			alone(t, b, start, 2)
			return start
		}, 2 * token, token},
		{"a refunded charge is not owed", func(t *testing.T, b *gcra.Bucket) int64 {
			alone(t, b, start, 3)
			if !b.Refund(start, 1) {
				t.Error("the refund was left to the store")
			}
			return start
		}, 0, 0},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			b := &gcra.Bucket{}
			d := b.Debt(tc.do(t, b))
			if d.AtLeast != tc.atLeast || d.Add != tc.add {
				t.Errorf("raise to %v and add %v, want %v and %v", d.AtLeast, d.Add, tc.atLeast, tc.add)
			}
			if k := b.State(start); d.Unseen != (d.Add > 0 || d.AtLeast > k.Seen) {
				t.Errorf("unseen: %v, but the store was seen %v ahead", d.Unseen, k.Seen)
			}
		})
	}
}

// A gateway does not give out settled tokens again before the store has answered it: others may not
// have settled yet.
func TestShareOutlastsItsSettlement(t *testing.T) {
	b := &gcra.Bucket{}
	for range 5 { // half of the ten tokens
		alone(t, b, start, 2)
	}
	b.Settled(b.Debt(start), start, 5*token)
	if r := b.Alone(tenASecond, start, 1, 2); r.Allowed {
		t.Errorf("a charge to a share that is used up: %+v", r)
	}
	told(b, start, 6*token)
	if r := b.Alone(tenASecond, start, 1, 2); !r.Allowed {
		t.Errorf("refused although the store has four: %+v", r)
	}
}

// A step that is undone at once leaves no trace. If it is undone later, the bucket never gives out
// more than it holds.
func TestUndo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuota(t)
		interval := int64(q.Interval())
		s, g := &shared{q: q}, &gateway{}
		type made struct {
			step gcra.Step
			at   int64
			cost int
		}
		var open, kept []made
		now := start
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 0, interval / 2, interval}).Draw(t, "gap")
			cost := rapid.IntRange(1, 3).Draw(t, "cost")
			before := g.State(now)
			step, _ := g.Admit(q, now, cost)
			if step.Kind == gcra.Refuse {
				continue
			}
			g.Undo(step, now)
			if after := g.State(now); before.Quota.Rate != 0 && after != before {
				t.Fatalf("undone at once: %+v, before %+v", after, before)
			}
			if step, _ = g.Admit(q, now, cost); step.Kind == gcra.Ask {
				if r := s.take(now, cost, 5); r.Allowed {
					g.Granted(r, cost, now, now)
					kept = append(kept, made{step, now, cost})
				} else {
					g.Undo(step, now)
					g.Refused(r, now)
				}
				continue
			}
			open = append(open, made{step, now, cost}) // another limit has not decided yet
			for len(open) > rapid.IntRange(0, 3).Draw(t, "open") {
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				if rapid.Bool().Draw(t, "undo") {
					g.Undo(open[i].step, now)
				} else {
					kept = append(kept, open[i])
				}
				open = append(open[:i], open[i+1:]...)
			}
		}
		kept = append(kept, open...)
		for i := range kept { // in every window
			from, sum := kept[i].at, int64(0)
			for until := from; until <= now; until += interval / 2 {
				sum = 0
				for _, k := range kept {
					if k.at >= from && k.at <= until {
						sum += int64(k.cost) * interval
					}
				}
				if sum > int64(q.Whole())+until-from {
					t.Fatalf("%v in %v, a bucket of %v", time.Duration(sum), time.Duration(until-from), q.Whole())
				}
			}
		}
	})
}

// Whatever a bucket holds, after a clock jump, another quota or another number of gateways, it
// gives out at most a burst at once. It blocks for no longer than two whole buckets: one for what
// the store reported, and one for what was admitted alone.
func TestNothingBlocksForLongerThanABucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuota(t)
		g, s := &gateway{}, &shared{q: q}
		now, setBack := start, false
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += rapid.Int64Range(0, int64(q.Whole())/2).Draw(t, "gap")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				jump := rapid.SampledFrom([]int64{-5, 5}).Draw(t, "jump")
				now += jump * int64(time.Hour)
				s.tat, setBack = 0, setBack || jump < 0
			case 1:
				q = drawQuota(t)
				s.q = q
			case 2, 3, 4:
				step, _ := g.Admit(q, now, 1)
				if step.Kind == gcra.Ask && !g.Alone(q, now, 1, 3).Allowed {
					g.Undo(step, now)
				}
			default:
				g.admit(s, &now, 1, 5, 0)
			}
		}
		n := rapid.IntRange(1, 4).Draw(t, "n")
		burst := 0
		for {
			step, _ := g.Admit(q, now, 1)
			if step.Kind == gcra.Refuse {
				break
			}
			if step.Kind == gcra.Ask && !g.Alone(q, now, 1, n).Allowed {
				break
			}
			if burst++; burst > q.Burst {
				t.Fatalf("more than %d at once", q.Burst)
			}
		}
		if setBack { // with three gateways, charges admitted alone count three times
			now += 2 * int64(q.Whole())
		}
		now += int64(q.Whole()) + max(int64(q.Whole()), int64(q.Interval())*int64(max(n, 3)))
		if step, r := g.Admit(q, now, 1); step.Kind == gcra.Refuse {
			t.Fatalf("refused after whole buckets: %+v", r)
		} else if step.Kind == gcra.Ask {
			if r := g.Alone(q, now, 1, n); !r.Allowed {
				t.Fatalf("refused alone after whole buckets: %+v", r)
			}
		}
	})
}

// The largest and fastest quotas of a policy do not overflow.
func TestExtremeQuotas(t *testing.T) {
	const tenYears = 10 * 365 * 24 * time.Hour
	for _, q := range []gcra.Quota{
		{Rate: 1_000_000_000, Period: time.Second, Burst: int(tenYears)},
		{Rate: 1_000_000_000, Period: time.Second, Burst: 1},
		{Rate: 1, Period: 1000 * 24 * time.Hour, Burst: 3},
		{Rate: 1, Period: tenYears, Burst: 1},
		{Rate: 3, Period: 3 * time.Second, Burst: int(tenYears / time.Second)},
	} {
		rapid.Check(t, func(t *rapid.T) {
			g, s := &gateway{}, &shared{q: q}
			now := rapid.SampledFrom([]int64{int64(time.Hour), int64(20 * 365 * 24 * time.Hour)}).Draw(t, "now")
			for range rapid.IntRange(1, 30).Draw(t, "steps") {
				now += rapid.Int64Range(0, 2*int64(q.Whole())).Draw(t, "gap") / 30
				cost := rapid.SampledFrom([]int{1, (q.Burst + 1) / 2, q.Burst}).Draw(t, "cost")
				n := rapid.SampledFrom([]int{1, 2, 1000, math.MaxInt32}).Draw(t, "n")
				step, r := g.Admit(q, now, cost)
				if step.Kind == gcra.Ask {
					if rapid.Bool().Draw(t, "away") {
						if r = g.Alone(q, now, cost, n); !r.Allowed {
							g.Undo(step, now)
						}
					} else if r = s.take(now, cost, 10); r.Allowed {
						g.Granted(r, cost, now, now)
					} else {
						g.Refused(r, now)
					}
				}
				if r.Remaining < 0 || r.Remaining > q.Burst || r.ResetAfter < 0 || r.RetryAfter < 0 || r.Allowed != (r.RetryAfter == 0) {
					t.Fatalf("n %d, cost %d: %+v", n, cost, r)
				}
				if d := g.Debt(now); d.Add < 0 || d.Add > q.Whole() || d.AtLeast < 0 || d.AtLeast > q.Whole() {
					t.Fatalf("%+v", d)
				}
				if rapid.IntRange(0, 5).Draw(t, "settle") == 0 {
					d := g.Debt(now)
					g.Settled(d, now, min(d.AtLeast+d.Add, q.Whole()))
				}
			}
		})
	}
}
