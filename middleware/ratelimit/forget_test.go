package ratelimit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/test/storetest"
)

// forgetful is a shared store that admits everything; the gateway forgets the bucket while it asks.
type forgetful struct {
	answer  gcra.Result
	during  func()
	settled []ratelimit.Settlement
}

func (f *forgetful) Take(_ context.Context, charges []ratelimit.Charge, results []gcra.Result) ([]gcra.Result, error) {
	f.during()
	for range charges {
		results = append(results, f.answer)
	}
	return results, nil
}

func (f *forgetful) Refund(context.Context, []ratelimit.Charge) error { return nil }

func (f *forgetful) Return(context.Context, []ratelimit.LeaseOf) error { return nil }

func (f *forgetful) Settle(_ context.Context, owed []ratelimit.Settlement) ([]time.Duration, error) {
	f.during()
	f.settled = append(f.settled, owed...)
	whole := make([]time.Duration, len(owed))
	for i := range whole {
		whole[i] = time.Minute
	}
	return whole, nil
}

// runningSwitch returns a Switch that is Up until ctx is done, for use in a synctest bubble.
func runningSwitch(t *testing.T, ctx context.Context) *failover.Switch {
	t.Helper()
	sw := failover.New(failover.Config{
		Probe:  func(context.Context) (failover.Epoch, error) { return failover.Epoch{}, nil },
		Budget: time.Second, Classify: classify, InFlight: 8,
	})
	go sw.Run(ctx)
	synctest.Wait()
	time.Sleep(3 * time.Second)
	if !sw.Up() {
		t.Fatal("not up")
	}
	return sw
}

// A bucket may be dropped while the shared store is asked: by a reset or by eviction. The answer
// then belongs to a bucket that this gateway no longer has, and must not restore any of it.
func TestAnAnswerOfABucketThatIsGone(t *testing.T) {
	for name, answer := range map[string]gcra.Result{
		"admitted": {Allowed: true, Remaining: 1, ResetAfter: time.Minute},
		"refused":  {RetryAfter: time.Minute, ResetAfter: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				local, store := ratelimit.NewTable(10), &forgetful{answer: answer}
				store.during = func() { local.Forget("k") }
				ctx, cancel := context.WithCancel(t.Context())
				sw := runningSwitch(t, ctx)
				l := ratelimit.New(ratelimit.Config{
					Switch: sw, Remote: store, Local: local, Replicas: func() int { return 2 }, Now: time.Now,
				})
				charge := ratelimit.Charge{Key: "k", Quota: gcra.Quota{Rate: 2, Period: time.Minute, Burst: 2}, Cost: 1}
				results, err := l.Take(exchange.With(ctx, &exchange.Exchange{}), []ratelimit.Charge{charge}, nil)
				if err != nil || results[0].Allowed != answer.Allowed {
					t.Fatalf("%+v, %v", results, err)
				}
				if k, _ := l.State("k"); k != (gcra.State{}) {
					t.Errorf("the forgotten bucket is back: %+v", k)
				}
				if err := storetest.Replay(ctx, l); err != nil || len(store.settled) > 0 {
					t.Errorf("brought: %+v, %v", store.settled, err)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

func TestASettlementOfABucketThatIsGone(t *testing.T) {
	local, store := ratelimit.NewTable(10), &forgetful{}
	store.during = func() { local.Forget("k") }
	l := ratelimit.New(ratelimit.Config{
		Switch: failover.New(failover.Config{ // never probed, and so Down
			Probe: func(context.Context) (failover.Epoch, error) { return failover.Epoch{}, nil }, Classify: classify,
		}),
		Remote: store, Local: local, Replicas: func() int { return 2 }, Now: time.Now,
	})
	charge := ratelimit.Charge{Key: "k", Quota: gcra.Quota{Rate: 2, Period: time.Minute, Burst: 2}, Cost: 1}
	if _, err := l.Take(exchange.With(t.Context(), &exchange.Exchange{}), []ratelimit.Charge{charge}, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := storetest.Replay(t.Context(), l); err != nil || len(store.settled) != 1 {
			t.Errorf("brought: %+v, %v", store.settled, err)
		}
	}
}
