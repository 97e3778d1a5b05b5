package failover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// epochs keeps an epoch, like a store shared by several gateways.
type epochs struct {
	mu   sync.Mutex
	now  Epoch
	made int
}

func (e *epochs) touch(stale string, above int64) Epoch {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.now.Incarnation == "" || e.now.Incarnation == stale {
		e.made++
		e.now.Incarnation = fmt.Sprint("made-", e.made)
	}
	e.now.Counter = max(e.now.Counter, above) + 1
	return e.now
}

func (e *epochs) Probe(context.Context) (Epoch, error) { return e.touch("", 0), nil }

func (e *epochs) Renew(_ context.Context, last Epoch) (Epoch, error) {
	return e.touch(last.Incarnation, last.Counter), nil
}

func (e *epochs) set(f func(*Epoch)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(&e.now)
}

// losses are the ways to lose a store's data, with the reason given by the gateway that finds the
// loss first.
var losses = []struct {
	name string
	lose func(*Epoch)
	want error
}{
	{"it was emptied", func(e *Epoch) { *e = Epoch{Server: e.Server} }, errEmpty},
	{"it was emptied and restarted", func(e *Epoch) { *e = Epoch{Server: e.Server + "'"} }, errEmpty},
	{"it was replaced by other data", func(e *Epoch) { *e = Epoch{"stranger", 1000, e.Server} }, errReplaced},
	{"an old copy was restored", func(e *Epoch) { e.Counter = 1 }, errOld},
	{"it was restarted with all its data", func(e *Epoch) { e.Server += "'" }, errRestarted},
}

func TestLost(t *testing.T) {
	seen := Epoch{"a", 100, "s"}
	for _, tt := range []struct {
		name        string
		last, found Epoch
		want        error
	}{
		{"the counter has increased", seen, Epoch{"a", 101, "s"}, nil},
		{"others probe too", seen, Epoch{"a", 190, "s"}, nil},
		{"at the first probe there is nothing to compare", Epoch{}, Epoch{"a", 1, "s"}, nil},
		{"a store without epochs has nothing to compare", seen, Epoch{}, nil},
		{"nor does a store that never had one", Epoch{}, Epoch{}, nil},
		{"a new incarnation at its first probe", seen, Epoch{"b", 1, "s"}, errEmpty},
		{"a new incarnation that another gateway found first", seen, Epoch{"b", 102, "s"}, errReplaced},
		{"a lower counter", seen, Epoch{"a", 99, "s"}, errOld},
		{"the same counter, which a probe should have raised", seen, Epoch{"a", 100, "s"}, errOld},
		{"another server", seen, Epoch{"a", 101, "t"}, errRestarted},
		{"the server is not reported", seen, Epoch{"a", 101, ""}, nil},
		{"the server was not reported before", Epoch{"a", 100, ""}, Epoch{"a", 101, "s"}, nil},
	} {
		if got := lost(tt.last, tt.found); !errors.Is(got, tt.want) || (got != nil) != errors.Is(got, ErrLost) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// fleet starts gateways on one store, apart by some milliseconds, each with a
// hook that counts its replays.
func fleet(t *testing.T, store *epochs, n int) (gateways []*Switch, replays []atomic.Int32) {
	t.Helper()
	replays = make([]atomic.Int32, n)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for i := range n {
		s := New(Config{Probe: store.Probe, Renew: store.Renew, Classify: classify})
		onRejoin(s, "replay", func(context.Context) error {
			time.Sleep(3 * time.Millisecond)
			replays[i].Add(1)
			return nil
		})
		running.Go(func() { s.Run(ctx) })
		<-s.Probed()
		gateways = append(gateways, s)
		time.Sleep(70 * time.Millisecond)
	}
	return gateways, replays
}

func TestEveryGatewayReplaysOnceALoss(t *testing.T) {
	for _, tt := range losses {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := &epochs{now: Epoch{Server: "s"}}
				gateways, replays := fleet(t, store, 3)
				for round := range 5 {
					time.Sleep(10*time.Second + time.Duration(round)*137*time.Millisecond)
					var before []Epoch
					for _, s := range gateways {
						before = append(before, s.Status().Epoch)
					}
					store.set(tt.lose)
					time.Sleep(time.Second)
					synctest.Wait()
					told := 0
					for i, s := range gateways {
						st := s.Status()
						if st.State != Up || int(replays[i].Load()) != round+2 {
							t.Errorf("round %d, gateway %d: %v after %d replays, want %d (%v)", round, i, st.State, replays[i].Load(), round+2, st.Reason)
						}
						if !errors.Is(st.Reason, ErrLost) {
							t.Errorf("gateway %d: reason %v", i, st.Reason)
						}
						if errors.Is(st.Reason, tt.want) {
							told++
						}
						if st.Epoch.Counter <= before[i].Counter || st.Epoch.Incarnation == before[i].Incarnation {
							t.Errorf("gateway %d: epoch %+v after %+v", i, st.Epoch, before[i])
						}
						if want := uint64(round + 1); st.Counts.Losses != want || st.Counts.Rejoins != want+1 || st.Counts.Trips != want {
							t.Errorf("gateway %d: %+v, want %d losses", i, st.Counts, want)
						}
					}
					if told == 0 {
						t.Errorf("round %d: no gateway has the reason %q", round, tt.want)
					}
				}
			})
		})
	}
}

// A gateway that was Down during the loss detects it too, and reports it.
func TestLossFoundOnTheWayBack(t *testing.T) {
	for _, tt := range losses {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := &epochs{now: Epoch{Server: "s"}}
				gateways, _ := fleet(t, store, 1)
				s := gateways[0]
				time.Sleep(2 * time.Second)
				s.report(s.load(), Fault, errRefused)
				store.set(tt.lose)
				time.Sleep(time.Second)
				synctest.Wait()
				history := s.Status().History
				if n := len(history); n != 5 {
					t.Fatalf("history %v", history)
				}
				if c := history[3]; c.To != Rejoining || !errors.Is(c.Reason, tt.want) {
					t.Errorf("reason of the change to %v: %v, want %v", c.To, c.Reason, tt.want)
				}
				if !s.Up() {
					t.Error("not up again")
				}
			})
		})
	}
}

// A loss that is found just when a request trips the switch counts too. The next probe sees nothing
// of it, since other gateways have raised the counter.
func TestALossFoundDuringATripIsMadeGood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &epochs{now: Epoch{"first", 1000, "s"}}
		var s *Switch
		var old atomic.Bool // an old copy was restored, and not yet found
		renewed := 0
		s = New(Config{
			Probe: func(ctx context.Context) (Epoch, error) {
				found, err := store.Probe(ctx)
				if old.CompareAndSwap(true, false) {
					s.report(s.load(), Fault, errRefused)
					store.set(func(e *Epoch) { e.Counter += 2000 })
				}
				return found, err
			},
			Renew: func(ctx context.Context, last Epoch) (Epoch, error) {
				renewed++
				return store.Renew(ctx, last)
			},
			Classify: classify,
		})
		env.Run(t, s.Run)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		store.set(func(e *Epoch) { e.Counter = 1 })
		old.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		st := s.Status()
		if !s.Up() || renewed != 1 || st.Counts.Losses != 1 || st.Epoch.Incarnation == "first" {
			t.Errorf("%v after %d renewals, %+v, %+v", st.State, renewed, st.Counts, st.Epoch)
		}
	})
}

func TestALossIsMadeGoodAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &epochs{}
		gateways, _ := fleet(t, store, 1)
		s := gateways[0]
		time.Sleep(10 * time.Second)
		store.set(func(e *Epoch) { *e = Epoch{} })
		time.Sleep(5 * time.Second)
		history := s.Status().History
		down, up := history[len(history)-3], history[len(history)-1]
		if down.To != Down || up.To != Up || up.At.Sub(down.At) > 10*time.Millisecond {
			t.Errorf("down at %v, up at %v", down, up)
		}
	})
}

// A store that keeps losing its data, as one that evicts under pressure, is retried less and less.
func TestLossAfterLoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &epochs{}
		gateways, replays := fleet(t, store, 1)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			store.set(func(e *Epoch) { *e = Epoch{} })
		}
		synctest.Wait()
		if n := replays[0].Load(); n > 25 {
			t.Errorf("%d replays in a minute", n)
		}
		time.Sleep(10 * time.Second)
		if !gateways[0].Up() {
			t.Error("not up although losses have ended")
		}
	})
}

// Replayed data may be lost before the first request needs it.
func TestLossDuringARejoin(t *testing.T) {
	for _, tt := range losses {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := &epochs{now: Epoch{"first", 1000, "s"}}
				s := New(Config{Probe: store.Probe, Renew: store.Renew, Classify: classify})
				runs := 0
				onRejoin(s, "replay", func(context.Context) error {
					if runs++; runs == 1 {
						store.set(tt.lose)
					}
					return nil
				})
				env.Run(t, s.Run)
				<-s.Probed()
				time.Sleep(time.Second)
				history := s.Status().History
				if c := history[1]; c.To != Down || !errors.Is(c.Reason, tt.want) {
					t.Fatalf("a change to %v: %v, want %v", c.To, c.Reason, tt.want)
				}
				if !s.Up() || runs != 2 {
					t.Errorf("up %v after %d runs of the hook", s.Up(), runs)
				}
			})
		})
	}
}

func TestRenewThatFailsKeepsTheStoreDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &epochs{}
		var broken atomic.Bool
		broken.Store(true)
		s := New(Config{Probe: store.Probe, Classify: classify, Renew: func(ctx context.Context, last Epoch) (Epoch, error) {
			if broken.Load() {
				return Epoch{}, errRefused
			}
			return store.Renew(ctx, last)
		}})
		env.Run(t, s.Run)
		<-s.Probed()
		store.set(func(e *Epoch) { *e = Epoch{} })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if st := s.Status(); st.State != Down || !errors.Is(st.Reason, errRefused) {
			t.Errorf("%v, %v", st.State, st.Reason)
		}
		broken.Store(false)
		time.Sleep(10 * time.Second)
		if !s.Up() {
			t.Errorf("down: %v", s.Status().Reason)
		}
	})
}
