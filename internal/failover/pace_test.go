package failover

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// holds returns how long the Switch was Down each time.
func holds(history []Change) (down []time.Duration) {
	for i, c := range history {
		if i > 0 && c.To == Rejoining && history[i-1].To == Down {
			down = append(down, c.At.Sub(history[i-1].At))
		}
	}
	return down
}

// wantDoubling checks that holds double, as for a flapping store.
func wantDoubling(t *testing.T, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if len(got) < len(want) {
		t.Fatalf("held %v, want %v", got, want)
	}
	const slack = 63 * time.Millisecond // a quarter of the first
	for i, w := range want {
		if got[i] < w-slack || got[i] > w+slack {
			t.Errorf("hold %d is %v, want about %v", i, got[i], w)
		}
	}
}

var doubling = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second}

func TestAHookThatKeepsFailingIsTriedLessAndLess(t *testing.T) {
	var broken atomic.Bool
	inBubble(t, func(t *testing.T, r *rig) {
		time.Sleep(20 * time.Second)
		wantDoubling(t, holds(r.Status().History), doubling...)
		broken.Store(false)
		time.Sleep(5 * time.Second)
		r.mustBe(t, Up)
		if c := r.Status().Counts; c.FailedRejoins < 6 || c.FailedRejoins > 9 || c.Rejoins != 1 || c.Trips != 0 {
			t.Errorf("%+v", c)
		}
	}, func(r *rig) {
		broken.Store(true)
		onRejoin(r.Switch, "x", func(context.Context) error {
			if broken.Load() {
				return errRefused
			}
			return nil
		})
	})
}

// faultAtOnce trips the Switch whenever it is Up, like requests that meet a fault which probes do
// not.
func (r *rig) faultAtOnce(t *testing.T, times int) {
	t.Helper()
	for range times {
		env.Until(t, "Up", r.Up)
		r.report(r.load(), Fault, errRefused)
	}
}

func TestRequestsThatFaultThoughTheProbeDoesNot(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.faultAtOnce(t, 7)
		wantDoubling(t, holds(r.Status().History), doubling...)
		time.Sleep(4100*time.Millisecond + 5100*time.Millisecond) // finally Up for long enough
		r.mustBe(t, Up)
		before := len(holds(r.Status().History))
		r.faultAtOnce(t, 3)
		time.Sleep(5 * time.Second)
		wantDoubling(t, holds(r.Status().History)[before:], doubling[:3]...)
	})
}

// A Redis that comes and goes every 200 ms causes no errors, hardly any waiting, and no flood of
// replays.
func TestFlapping(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  behaviour
	}{
		{"it refuses", behaviour{err: errRefused, probe: errRefused}},
		{"it hangs", behaviour{delay: time.Hour, lag: time.Hour}},
		{"it refuses requests only", behaviour{err: errRefused}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var replays atomic.Int32
			inBubble(t, func(t *testing.T, r *rig) {
				var callers sync.WaitGroup
				end := time.Now().Add(time.Minute)
				var mu sync.Mutex
				requests, slow := 0, 0
				for range 5 {
					callers.Go(func() {
						for time.Now().Before(end) {
							start := time.Now()
							_, err := do(withBudget(t.Context()), r.Switch, r.store.Call, local)
							mu.Lock()
							requests++
							if err != nil {
								t.Errorf("error %v", err)
							}
							if d := time.Since(start); d > 50*time.Millisecond {
								t.Errorf("a request waited %v", d)
							} else if d > 0 {
								slow++
							}
							mu.Unlock()
							time.Sleep(20 * time.Millisecond)
						}
					})
				}
				for time.Now().Before(end) {
					time.Sleep(200 * time.Millisecond)
					r.store.now(tt.bad)
					time.Sleep(200 * time.Millisecond)
					r.store.now(behaviour{})
				}
				callers.Wait()
				if n := replays.Load(); n > 60/2 {
					t.Errorf("%d replays in a minute", n)
				}
				if slow > requests/50 {
					t.Errorf("%d of %d requests waited", slow, requests)
				}
				time.Sleep(5 * time.Second)
				r.mustBe(t, Up)
				t.Logf("%d requests, %d waited, %d replays, %+v", requests, slow, replays.Load(), r.Status().Counts)
			}, func(r *rig) {
				onRejoin(r.Switch, "x", func(context.Context) error { replays.Add(1); return nil })
			})
		})
	}
}

// A long outage is not flapping: the way back is as short after an hour.
func TestALongOutageIsNotHeldAgainstTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		time.Sleep(time.Minute)
		r.store.now(behaviour{err: errRefused, probe: errRefused})
		time.Sleep(time.Hour)
		r.store.now(behaviour{})
		time.Sleep(320 * time.Millisecond)
		r.mustBe(t, Up)
	})
}

func TestBarrier(t *testing.T) {
	for _, tt := range []struct {
		name    string
		barrier func(context.Context) (time.Duration, error)
		want    time.Duration // from Rejoining to Up
	}{
		{"the first gateway waits", func(context.Context) (time.Duration, error) { return 400 * time.Millisecond, nil }, 400 * time.Millisecond},
		{"a late gateway does not wait", func(context.Context) (time.Duration, error) { return 0, nil }, 0},
		{"a time in the past causes no wait", func(context.Context) (time.Duration, error) { return -time.Hour, nil }, 0},
		{"a time far ahead is capped", func(context.Context) (time.Duration, error) { return time.Hour, nil }, maxBarrier},
		{"an error causes no wait", func(context.Context) (time.Duration, error) { return time.Hour, errRefused }, 0},
		{"a barrier that hangs has the time of a probe", func(ctx context.Context) (time.Duration, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}, 250 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				<-r.Probed()
				r.mustBe(t, Up)
				history := r.Status().History
				if got := history[1].At.Sub(history[0].At); got != tt.want {
					t.Errorf("waited %v, want %v", got, tt.want)
				}
			}, func(r *rig) { r.cfg.Barrier = tt.barrier })
		})
	}
}

func TestAStoreThatLeavesWhileOthersAreAwaitedIsNotUp(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		time.Sleep(100 * time.Millisecond)
		r.mustBe(t, Rejoining)
		r.mustDo(t, t.Context(), "local", nil)
		r.store.now(behaviour{probe: errRefused})
		<-r.Probed()
		if st := r.Status(); st.State != Down || !errors.Is(st.Reason, errRefused) {
			t.Errorf("%v, %v", st.State, st.Reason)
		}
	}, func(r *rig) {
		r.cfg.Barrier = func(context.Context) (time.Duration, error) { return 400 * time.Millisecond, nil }
	})
}

// TestPauses checks that there is jitter, and at most a quarter.
func TestPauses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := New(Config{Probe: (&epochs{}).Probe, Classify: classify})
		s.tried = s.load().generation()
		for _, tt := range []struct {
			state State
			mid   time.Duration
		}{{Down, 250 * time.Millisecond}, {Up, 500 * time.Millisecond}} {
			if tt.state == Up {
				s.change(s.load(), Up, nil)
			}
			low, high := time.Hour, time.Duration(0)
			for range 1000 {
				p := s.pause()
				low, high = min(low, p), max(high, p)
			}
			if low < tt.mid*3/4 || high > tt.mid*5/4 || high-low < tt.mid*2/5 {
				t.Errorf("%v: pauses from %v to %v around %v", tt.state, low, high, tt.mid)
			}
		}
	})
}
