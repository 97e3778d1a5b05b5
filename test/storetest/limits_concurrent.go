package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/middleware/ratelimit"
)

// Callers at the same time get the burst between them, and no more.
func limitsConcurrency(t *testing.T, s ratelimit.Store) {
	const callers, each, burst = 50, 6, 100
	var admitted atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range each {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				results, err := s.Take(ctx, []ratelimit.Charge{{Key: "k", Quota: slow(burst), Cost: 1}}, nil)
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

// Of limits that overlap, each has charged exactly the requests that were
// admitted, once all is quiet.
func limitsOverlap(t *testing.T, s ratelimit.Store) {
	const callers, each, burst = 64, 8, 150
	charge := func(key string) ratelimit.Charge { return ratelimit.Charge{Key: key, Quota: slow(burst), Cost: 1} }
	pairs := [][]ratelimit.Charge{{charge("a"), charge("b")}, {charge("b"), charge("c")}}
	var admitted [2]atomic.Int64
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for range each {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				results, err := s.Take(ctx, pairs[caller%2], nil)
				cancel()
				if err != nil || len(results) != 2 {
					t.Errorf("%v, %v", results, err)
				} else if results[0].Allowed && results[1].Allowed {
					admitted[caller%2].Add(1)
				}
			}
		})
	}
	group.Wait()
	ab, bc := int(admitted[0].Load()), int(admitted[1].Load())
	if ab+bc > burst || ab+bc == 0 {
		t.Errorf("%d and %d admitted by a limit of %d", ab, bc, burst)
	}
	left := take(t, s, ratelimit.Charge{Key: "a", Quota: slow(burst)}, ratelimit.Charge{Key: "b", Quota: slow(burst)}, ratelimit.Charge{Key: "c", Quota: slow(burst)})
	for i, want := range []int{burst - ab, burst - ab - bc, burst - bc} {
		if left[i].Remaining != want {
			t.Errorf("%d and %d admitted: limit %d has %d left, want %d", ab, bc, i, left[i].Remaining, want)
		}
	}
}
