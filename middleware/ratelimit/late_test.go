package ratelimit_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/storetest"
)

// lateRig is a limiter whose store can be made to answer late.
type lateRig struct {
	ctx     context.Context
	store   *sharedStore
	link    *busyLink
	limiter *ratelimit.Limiter
	charge  ratelimit.Charge
}

// take makes one request and reports whether it was admitted.
func (r *lateRig) take(t *testing.T) bool {
	t.Helper()
	results, err := r.limiter.Take(exchange.With(r.ctx, &exchange.Exchange{}), []ratelimit.Charge{r.charge}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Allowed
}

// inLateRig runs f with a quota of 10, in a bubble.
func inLateRig(t *testing.T, replicas int, lease policy.Lease, f func(t *testing.T, r *lateRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		store := &sharedStore{added: map[string]time.Duration{}, contents: contents{tats: map[string]int64{}, settled: map[string]bool{}}}
		r := &lateRig{ctx: ctx, store: store, link: &busyLink{link: &link{store: store}}, charge: ratelimit.Charge{
			Key: "k", Quota: gcra.Quota{Rate: 10, Period: time.Hour, Burst: 10}, Cost: 1, Lease: lease,
		}}
		r.limiter = ratelimit.New(ratelimit.Config{
			Switch: runningSwitch(t, ctx), Remote: r.link, Local: ratelimit.NewTable(10), Replicas: func() int { return replicas }, Now: time.Now,
		})
		f(t, r)
	})
}

// If the store makes a charge but answers too late, a gateway that is alone counts it once. With
// others it counts it a second time, since it cannot know. Never is more admitted.
func TestALateAnswerOfTheStore(t *testing.T) {
	for _, tt := range []struct{ replicas, passed int }{{1, 10}, {2, 8}} {
		inLateRig(t, tt.replicas, policy.NoLease, func(t *testing.T, r *lateRig) {
			passed := 0
			for i := range 30 {
				r.link.fault.Store(works)
				if i == 3 || i == 6 { // two in a row would soon be a fault
					r.link.fault.Store(losesReplies)
				}
				if r.take(t) {
					passed++
				}
				r.link.fault.Store(works)
				if err := storetest.Replay(r.ctx, r.limiter); err != nil {
					t.Fatal(err)
				}
			}
			if passed != tt.passed {
				t.Errorf("%d gateways: %d of a quota of 10 passed, want %d", tt.replicas, passed, tt.passed)
			}
		})
	}
}

// A gateway cannot know either that the store did not make a charge. A gateway that is alone
// settles that too.
func TestAChargeThatTheStoreNeverMade(t *testing.T) {
	inLateRig(t, 1, policy.NoLease, func(t *testing.T, r *lateRig) {
		r.link.fault.Store(hangs)
		if !r.take(t) {
			t.Fatal("refused")
		}
		r.link.fault.Store(works)
		if err := r.limiter.Settle(r.ctx); err != nil {
			t.Fatal(err)
		}
		if ahead := r.store.ahead("k"); ahead < 5*time.Minute || ahead > 6*time.Minute {
			t.Errorf("the store is %v ahead, want a token's time", ahead)
		}
	})
}

// busyLink runs before, once, while a request to the store is in progress.
type busyLink struct {
	*link
	before func()
	extras []int // asked for, in order
}

func (l *busyLink) Take(ctx context.Context, charges []ratelimit.Charge, results []gcra.Result) ([]gcra.Result, error) {
	if f := l.before; f != nil {
		l.before = nil
		f()
	}
	l.extras = append(l.extras, charges[0].Extra)
	return l.link.Take(ctx, charges, results)
}

// Of three concurrent requests the first leases a token, the second takes the last one, and the
// store refuses the third; but this gateway holds the lease.
func TestALeaseThatArrivesBesideARefusal(t *testing.T) {
	inLateRig(t, 1, 8, func(t *testing.T, r *lateRig) {
		r.store.take([]ratelimit.Charge{{Key: "k", Quota: r.charge.Quota, Cost: 6}}) // of another gateway
		if !r.take(t) {                                                              // three are left, and the key is hot
			t.Fatal("refused")
		}
		passed := 0
		take := func() {
			if r.take(t) {
				passed++
			}
		}
		r.link.before = func() {
			r.link.before = take
			take()
		}
		take()
		if passed != 3 || r.store.ahead("k") < 59*time.Minute {
			t.Errorf("%d of 3 passed, the store is %v ahead", passed, r.store.ahead("k"))
		}
		if r.take(t) {
			t.Error("one more than the quota passed")
		}
	})
}

// One lease of a key is requested at a time, and again after a request that failed.
func TestOneLeaseIsOnItsWay(t *testing.T) {
	inLateRig(t, 1, 2, func(t *testing.T, r *lateRig) {
		r.take(t) // the key is hot from now on
		r.link.before = func() { r.take(t) }
		r.take(t)
		r.link.fault.Store(hangs)
		for range 2 { // the lease's tokens
			r.take(t)
		}
		r.take(t)
		r.link.fault.Store(works)
		r.take(t)
		if want := []int{0, 0, 2, 2, 2}; !slices.Equal(r.link.extras, want) {
			t.Errorf("asked for leases of %v, want %v", r.link.extras, want)
		}
	})
}
