package failover

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// A call without a turn waits for one, in order, for as long as its budget allows.
func TestTurns(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.store.now(behaviour{delay: 20 * time.Millisecond})
		begin := time.Now()
		var mu sync.Mutex
		var got []string
		var took []time.Duration
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				v, err := do(withBudget(t.Context()), r.Switch, r.store.Call, local)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got, took = append(got, v), append(took, time.Since(begin))
			})
			time.Sleep(time.Millisecond)
		}
		callers.Wait()
		// The third gets its turn with too little budget left, and the fourth gets none.
		if want := []string{"remote", "remote", "local", "local"}; !slices.Equal(got, want) {
			t.Errorf("answered %v after %v, want %v", got, took, want)
		}
		if last := took[len(took)-1]; last > 55*time.Millisecond {
			t.Errorf("waited %v", took)
		}
		left, cancel := context.WithCancel(t.Context())
		cancel()
		r.turns <- struct{}{}
		if v, _ := do(left, r.Switch, r.store.Call, local); v != "local" {
			t.Error("a caller that had left got a turn")
		}
		r.mustDo(t, t.Context(), "local", nil)
		<-r.turns
		if c := r.Status().Counts; c.Crowded == 0 || c.Trips != 0 || len(r.turns) != 0 {
			t.Errorf("%+v, %d turns taken", c, len(r.turns))
		}
	}, func(r *rig) { r.turns = make(chan struct{}, 1) })
}
