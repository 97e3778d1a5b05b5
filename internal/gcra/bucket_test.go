package gcra_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/gcra"
)

// shared is the gateways' shared store: one bucket with leases.
type shared struct {
	q   gcra.Quota
	tat int64
}

// take charges cost and, if that is admitted, up to extra more tokens, at most half of what is
// left.
func (s *shared) take(now int64, cost, extra int) gcra.Result {
	next, r := s.q.Take(s.tat, now, cost)
	s.tat = next
	if r.Allowed {
		r.Extra = min(extra, r.Remaining/2)
		s.tat += int64(r.Extra) * int64(s.q.Interval())
		r.ResetAfter += time.Duration(r.Extra) * s.q.Interval()
	}
	return r
}

// gateway is a gateway that uses shared.
type gateway struct{ gcra.Bucket }

// admit decides one request and returns when it was admitted. The question and the answer take lag
// each.
func (g *gateway) admit(s *shared, now *int64, cost, extra int, lag int64) (at int64, ok bool) {
	step, r := g.Admit(s.q, *now, cost)
	switch step.Kind {
	case gcra.Refuse:
		return 0, false
	case gcra.Spent:
		return *now, r.Allowed
	}
	sent := *now
	at = sent + lag
	*now = at + lag
	if r = s.take(at, cost, extra); !r.Allowed {
		g.Undo(step, *now)
		g.Refused(r, *now)
		return 0, false
	}
	g.Granted(r, cost, sent, *now)
	return at, true
}

func drawQuota(t *rapid.T) gcra.Quota {
	return gcra.Quota{
		Rate:   rapid.IntRange(1, 1000).Draw(t, "rate"),
		Period: time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second,
		Burst:  rapid.IntRange(3, 60).Draw(t, "burst"),
	}
}

// However gateways lease, together they never admit more than one bucket would, and their unspent
// leases never exceed what it has left.
func TestLeasesAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuota(t)
		interval := int64(q.Interval())
		s, gateways := &shared{q: q}, make([]gateway, rapid.IntRange(1, 4).Draw(t, "gateways"))
		lag := rapid.SampledFrom([]int64{0, 1, interval / 3, 3 * interval}).Draw(t, "lag")
		now, exact := start, int64(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 0, 1, interval / 2, interval - 1, interval, 3*interval - 7, 20 * interval}).Draw(t, "gap")
			g := &gateways[rapid.IntRange(0, len(gateways)-1).Draw(t, "gateway")]
			cost := rapid.IntRange(1, 3).Draw(t, "cost")
			at, ok := g.admit(s, &now, cost, rapid.IntRange(0, 12).Draw(t, "extra"), lag)
			if ok {
				next, r := q.Take(exact, at, cost)
				if !r.Allowed {
					t.Fatalf("admitted %v before one bucket would", r.RetryAfter)
				}
				exact = next
			}
			leased := 0
			for i := range gateways {
				leased += gateways[i].State(now).Leased
			}
			if left := max(s.tat, now) - int64(leased)*interval; max(exact, now) > left {
				t.Fatalf("the shared bucket and %d leased tokens are %v more than one bucket has", leased, time.Duration(exact-left))
			}
		}
	})
}

// A gateway that is alone loses nothing by leasing: it refuses only what one bucket would refuse
// too, apart from a rest of the lease that is smaller than the cost.
func TestLeasesLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuota(t)
		q.Burst = max(q.Burst, 6)
		interval := int64(q.Interval())
		cost := rapid.IntRange(1, 3).Draw(t, "cost")
		s, g := &shared{q: q}, &gateway{}
		now, exact := start, int64(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now += rapid.Int64Range(0, 4*interval).Draw(t, "gap")
			if _, ok := g.admit(s, &now, cost, 10, 0); ok {
				exact, _ = q.Take(exact, now, cost)
			} else if _, want := q.Take(exact, now, 2*cost); want.Allowed {
				t.Fatalf("%d of %d tokens were refused", cost, want.Remaining+2*cost)
			}
		}
	})
}

// A client just below its rate is never refused, and leases save most of its questions.
func TestLeasesJustBelowTheRate(t *testing.T) {
	s, g := &shared{q: gcra.Quota{Rate: 10, Period: time.Second, Burst: 20}}, &gateway{}
	now, asked := start, 0
	for i := range 10_000 {
		now += int64(101 * time.Millisecond)
		before := s.tat
		if _, ok := g.admit(s, &now, 1, 5, 0); !ok {
			t.Fatalf("request %d was refused", i)
		}
		if s.tat != before {
			asked++
		}
	}
	if asked > 5000 {
		t.Errorf("%d of 10000 requests asked", asked)
	}
}

// Unspent leased tokens come back: they block nothing after their slots.
func TestLeaseThatIsNotSpentComesBack(t *testing.T) {
	q := gcra.Quota{Rate: 10, Period: time.Second, Burst: 100}
	s := &shared{q: q}
	var a, b gateway
	now := start
	for range 2 { // a bucket never used gives no lease the first time
		a.admit(s, &now, 1, 30, 0)
	}
	if got := a.State(now).Leased; got < 29 {
		t.Fatalf("leased %d", got)
	}
	now += int64(10 * time.Second)
	admitted := 0
	for range 200 {
		if _, ok := a.admit(s, &now, 1, 0, 0); ok {
			admitted++
		}
		if _, ok := b.admit(s, &now, 1, 0, 0); ok {
			admitted++
		}
	}
	if admitted != 100 {
		t.Errorf("%d admitted at once, but the burst is 100", admitted)
	}
}

// One gateway alone never admits more than a whole bucket, whatever the shared store says, and
// however often it is not asked.
func TestOwnHoldsWhateverTheStoreDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuota(t)
		interval := int64(q.Interval())
		g := &gateway{}
		now, exact := start, int64(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 0, interval / 2, interval, 30 * interval}).Draw(t, "gap")
			cost, admitted := rapid.IntRange(1, 3).Draw(t, "cost"), true
			step, _ := g.Admit(q, now, cost)
			switch {
			case step.Kind == gcra.Refuse:
				continue
			case step.Kind == gcra.Spent:
			case rapid.Bool().Draw(t, "away"):
				admitted = g.Alone(q, now, cost, rapid.IntRange(1, 3).Draw(t, "n")).Allowed
			default:
				one := &shared{q: q, tat: now + rapid.Int64Range(0, int64(q.Whole())).Draw(t, "tat")}
				r := one.take(now, cost, 5)
				if admitted = r.Allowed; admitted {
					g.Granted(r, cost, now, now)
				} else {
					g.Refused(r, now)
				}
			}
			if !admitted {
				g.Undo(step, now)
				continue
			}
			next, r := q.Take(exact, now, cost)
			if !r.Allowed {
				t.Fatalf("admitted %v before one bucket would", r.RetryAfter)
			}
			exact = next
		}
	})
}

// n gateways that know the store's last state together admit without it as much as it would have,
// and settle what they admitted.
func TestSharesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawQuota(t)
		interval := int64(q.Interval())
		n := rapid.IntRange(1, min(5, q.Burst/3)).Draw(t, "n")
		s, gateways := &shared{q: q}, make([]gateway, n)
		now, exact, alone := start, int64(0), int64(0)
		s.take(now, rapid.IntRange(1, q.Burst).Draw(t, "before"), 0)
		exact = s.tat
		for i := range gateways {
			_, r := q.Take(s.tat, now, 0)
			step, _ := gateways[i].Admit(q, now, 0)
			gateways[i].Undo(step, now)
			gateways[i].Refused(gcra.Result{Allowed: true, ResetAfter: r.ResetAfter}, now)
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 0, 0, interval / 2, interval}).Draw(t, "gap")
			g, cost := &gateways[rapid.IntRange(0, n-1).Draw(t, "gateway")], rapid.IntRange(1, 3).Draw(t, "cost")
			step, _ := g.Admit(q, now, cost)
			if step.Kind == gcra.Refuse {
				continue
			}
			if !g.Alone(q, now, cost, n).Allowed {
				g.Undo(step, now)
				continue
			}
			alone += int64(cost) * interval
			next, r := q.Take(exact, now, cost)
			if !r.Allowed {
				t.Fatalf("%d shares admitted %v before one bucket would", n, r.RetryAfter)
			}
			exact = next
		}
		brought := int64(0)
		for i := range gateways {
			brought += int64(gateways[i].Debt(now).Add)
		}
		if came := now - start; brought > alone || brought < alone-came-int64(n) {
			t.Fatalf("settled %v of %v admitted in %v", time.Duration(brought), time.Duration(alone), time.Duration(came))
		}
	})
}
