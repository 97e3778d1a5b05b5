package failover

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/jewgo/gateway/test/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errRefused  = errors.New("connection refused")
	errNotFound = errors.New("not found")
	errType     = errors.New("value of a wrong type")
)

func classify(err error) Kind {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, errRefused):
		return Fault
	case errors.Is(err, errType):
		return Rejection
	}
	return Answer
}

// behaviour is how a remote store behaves now.
type behaviour struct {
	err   error         // of calls
	delay time.Duration // of calls
	probe error         // of probes
	lag   time.Duration // of probes
}

// store is a remote store that fails and delays as configured.
type store struct {
	mu sync.Mutex
	behaviour
	calls, probes int
}

func (st *store) now(b behaviour) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.behaviour = b
}

func (st *store) count() (calls, probes int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.calls, st.probes
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (st *store) Call(ctx context.Context) (string, error) {
	st.mu.Lock()
	st.calls++
	delay, err := st.delay, st.err
	st.mu.Unlock()
	if late := sleep(ctx, delay); late != nil {
		return "", late
	}
	return "remote", err
}

func (st *store) Probe(ctx context.Context) (Epoch, error) {
	st.mu.Lock()
	st.probes++
	lag, err := st.lag, st.probe
	st.mu.Unlock()
	if late := sleep(ctx, lag); late != nil {
		return Epoch{}, late
	}
	return Epoch{}, err
}

func local() (string, error) { return "local", nil }

// rig is a Switch over a store, with the changes that it reported.
type rig struct {
	*Switch
	store   *store
	changes []Change // Run's goroutine writes it: read after synctest.Wait
	stop    func()   // ends Run and waits for it
}

// bubble runs f with virtual time on one processor: with two, timers
// that fire at the same moment crash Go 1.26's race detector now and then.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}

// inBubble runs f with a running Switch, with virtual time.
func inBubble(t *testing.T, f func(t *testing.T, r *rig), prepare ...func(*rig)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		r := &rig{store: &store{}}
		r.Switch = New(Config{
			Probe:    r.store.Probe,
			Classify: classify,
			OnChange: func(c Change) { r.changes = append(r.changes, c) },
		})
		for _, p := range prepare {
			p(r)
		}
		r.stop = env.Run(t, r.Run)
		f(t, r)
	})
}

func (r *rig) mustBe(t *testing.T, want State) {
	t.Helper()
	synctest.Wait()
	if got := r.Status(); got.State != want {
		t.Fatalf("state %v (%v), want %v", got.State, got.Reason, want)
	}
}

func (r *rig) mustDo(t *testing.T, ctx context.Context, want string, wantErr error) {
	t.Helper()
	got, err := do(ctx, r.Switch, r.store.Call, local)
	if got != want || !errors.Is(err, wantErr) {
		t.Fatalf("Do: %q, %v; want %q, %v", got, err, want, wantErr)
	}
}

func TestStartsDownUntilProbed(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.mustBe(t, Down) // the first probe is running
		select {
		case <-r.Probed():
			t.Fatal("probed before the probe ended")
		default:
		}
		r.mustDo(t, t.Context(), "local", nil)
		<-r.Probed()
		r.mustBe(t, Up)
		r.mustDo(t, t.Context(), "remote", nil)
	}, func(r *rig) { r.store.lag = 20 * time.Millisecond })
}

func TestStoreAwayFromTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.mustBe(t, Down)
		if got := r.Status().Reason; !errors.Is(got, errRefused) {
			t.Errorf("reason %v", got)
		}
		if len(r.changes) != 0 {
			t.Errorf("changes although the state never changed: %v", r.changes)
		}
		r.store.now(behaviour{})
		time.Sleep(time.Second)
		r.mustBe(t, Up)
	}, func(r *rig) { r.store.probe = errRefused })
}

// TestOutcomes checks the result of the last call of a sequence, and whether the Switch is Up after
// it.
func TestOutcomes(t *testing.T) {
	const slow = 300 * time.Millisecond
	ok, timeout := behaviour{}, behaviour{delay: slow}
	for _, tt := range []struct {
		name  string
		calls []behaviour
		want  string
		err   error
		state State
	}{
		{"a working store answers", []behaviour{ok}, "remote", nil, Up},
		{"not found is the store's answer", []behaviour{{err: errNotFound}}, "remote", errNotFound, Up},
		{"a rejected call is answered locally", []behaviour{{err: errType}}, "local", nil, Up},
		{"rejections never trip", []behaviour{{err: errType}, {err: errType}, {err: errType}, {err: errType}}, "local", nil, Up},
		{"one fault trips", []behaviour{{err: errRefused}}, "local", nil, Down},
		{"two timeouts do not trip", []behaviour{timeout, timeout}, "local", nil, Up},
		{"three timeouts in a row trip", []behaviour{timeout, timeout, timeout}, "local", nil, Down},
		{"a success in between resets the count", []behaviour{timeout, timeout, ok, timeout, timeout}, "local", nil, Up},
		{"not found resets the count too", []behaviour{timeout, timeout, {err: errNotFound}, timeout, timeout}, "local", nil, Up},
		{"after a reset, three timeouts trip", []behaviour{timeout, timeout, ok, timeout, timeout, timeout}, "local", nil, Down},
		{"a call canceled elsewhere is neither an answer nor a fault", []behaviour{{err: context.Canceled}}, "local", nil, Up},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				<-r.Probed()
				for i, c := range tt.calls {
					r.store.now(c)
					start := time.Now()
					got, err := do(t.Context(), r.Switch, r.store.Call, local)
					if d := time.Since(start); d > 50*time.Millisecond {
						t.Errorf("call %d took %v, beyond the budget", i, d)
					}
					if i == len(tt.calls)-1 && (got != tt.want || !errors.Is(err, tt.err)) {
						t.Errorf("last answer %q, %v; want %q, %v", got, err, tt.want, tt.err)
					}
				}
				r.mustBe(t, tt.state)
			})
		})
	}
}

func TestCallerThatLeavesSaysNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.store.now(behaviour{delay: 40 * time.Millisecond})
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			r.mustDo(t, ctx, "local", nil)
		}
		for range 10 { // the caller's own deadline does not count either
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			r.mustDo(t, ctx, "local", nil)
			cancel()
		}
		r.mustBe(t, Up)
	})
}

func TestBudgetIsSharedByARequest(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.store.now(behaviour{delay: 20 * time.Millisecond})
		start, ctx := time.Now(), withBudget(t.Context())
		r.mustDo(t, ctx, "remote", nil) // 30 ms left
		r.mustDo(t, ctx, "remote", nil) // 10 ms left
		r.mustDo(t, ctx, "local", nil)  // cut off
		if d := time.Since(start); d != 50*time.Millisecond {
			t.Errorf("the request waited %v, want its budget", d)
		}
		calls, _ := r.store.count()
		r.mustDo(t, ctx, "local", nil) // nothing left: the store is not asked
		if again, _ := r.store.count(); again != calls || time.Since(start) != 50*time.Millisecond {
			t.Error("a spent budget asked the store")
		}
		r.mustBe(t, Up)
		r.mustDo(t, withBudget(t.Context()), "remote", nil) // another request has its own budget
	})
}

func TestCutOffCallsAreNoSignAgainstTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		ctx := withBudget(t.Context())
		r.store.now(behaviour{delay: 30 * time.Millisecond})
		r.mustDo(t, ctx, "remote", nil)
		for range 5 { // concurrently, each with the remaining 20 ms
			go func() { _, _ = do(ctx, r.Switch, r.store.Call, local) }()
		}
		time.Sleep(20 * time.Millisecond)
		r.mustBe(t, Up)
		if calls, _ := r.store.count(); calls != 6 {
			t.Errorf("%d calls reached the store", calls)
		}
	})
}

func TestLateAnswersAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		for _, tt := range []struct {
			name string
			err  error
		}{{"a value", nil}, {"not found", errNotFound}} {
			got, err := do(t.Context(), r.Switch, func(context.Context) (string, error) {
				// Meanwhile the switch trips and the store comes back.
				r.store.now(behaviour{err: errRefused})
				r.mustDo(t, t.Context(), "local", nil)
				r.store.now(behaviour{})
				time.Sleep(time.Second)
				r.mustBe(t, Up)
				return "remote", tt.err
			}, local)
			if got != "local" || err != nil {
				t.Errorf("%s of an earlier generation was used: %q, %v", tt.name, got, err)
			}
		}
	})
}

func TestLateFailuresDoNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		seen := r.load()
		r.report(seen, Fault, errRefused)
		time.Sleep(time.Second)
		r.mustBe(t, Up)
		for range 5 {
			r.report(seen, Timeout, context.DeadlineExceeded)
			r.report(seen, Fault, errRefused)
		}
		r.report(r.load(), Timeout, context.DeadlineExceeded)
		r.mustBe(t, Up)
	})
}

func TestRejoinHooksRunInOrderBeforeUp(t *testing.T) {
	var order []string
	hook := func(r *rig, name string) {
		onRejoin(r.Switch, name, func(ctx context.Context) error {
			order = append(order, fmt.Sprint(name, " ", r.Status().State))
			if _, bounded := ctx.Deadline(); !bounded {
				t.Errorf("hook %s is not bounded", name)
			}
			if len(r.changes) != 1 || r.changes[0].To != Rejoining {
				t.Errorf("changes before hook %s: %v", name, r.changes)
			}
			return nil
		})
	}
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.mustBe(t, Up)
		want := []string{"first rejoining", "second rejoining", "third rejoining"}
		if !slices.Equal(order, want) {
			t.Errorf("hooks: %q, want %q", order, want)
		}
	}, func(r *rig) { hook(r, "first"); hook(r, "second"); hook(r, "third") })
}

func TestFailedRejoinStaysDown(t *testing.T) {
	var healed atomic.Bool
	var second atomic.Int32
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.mustBe(t, Down)
		if reason := r.Status().Reason; !errors.Is(reason, errRefused) || !strings.HasPrefix(reason.Error(), "rejoin of limits: ") {
			t.Errorf("reason: %v", reason)
		}
		if second.Load() != 0 {
			t.Error("a hook ran after one that failed")
		}
		healed.Store(true)
		time.Sleep(time.Second)
		r.mustBe(t, Up)
		if n := second.Load(); n != 1 {
			t.Errorf("the second hook ran %d times", n)
		}
	}, func(r *rig) {
		onRejoin(r.Switch, "limits", func(context.Context) error {
			if healed.Load() {
				return nil
			}
			return errRefused
		})
		onRejoin(r.Switch, "sessions", func(context.Context) error { second.Add(1); return nil })
	})
}

func TestComesBackByItself(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.store.now(behaviour{err: errRefused, probe: errRefused})
		r.mustDo(t, t.Context(), "local", nil)
		synctest.Wait()
		if last := r.changes[len(r.changes)-1]; last.To != Down || !errors.Is(last.Reason, errRefused) {
			t.Errorf("a trip is not reported at once: %+v", last)
		}
		calls, _ := r.store.count()
		time.Sleep(time.Minute)
		r.mustDo(t, t.Context(), "local", nil)
		if again, _ := r.store.count(); again != calls {
			t.Error("a request probed a store that is down")
		}
		r.store.now(behaviour{})
		time.Sleep(time.Second)
		r.mustBe(t, Up)
		r.mustDo(t, t.Context(), "remote", nil)
	})
}

func TestATripIsShort(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.report(r.load(), Fault, errRefused)
		time.Sleep(180 * time.Millisecond)
		r.mustBe(t, Down) // for some time in any case
		time.Sleep(150 * time.Millisecond)
		r.mustBe(t, Up)
	})
}

func TestProbesWatchAStoreThatIsUp(t *testing.T) {
	const hang = time.Second
	for _, tt := range []struct {
		name  string
		now   behaviour
		state State
	}{
		{"a fault of a probe trips", behaviour{probe: errRefused}, Down},
		{"any other error of a probe trips, since it would keep a store down", behaviour{probe: errType}, Down},
		{"hanging writes trip although reads work", behaviour{lag: hang}, Down},
		{"one slow probe does not trip", behaviour{lag: 200 * time.Millisecond}, Up},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				<-r.Probed()
				r.store.now(tt.now)
				for range 30 { // requests only read, which works
					time.Sleep(100 * time.Millisecond)
					_, _ = do(t.Context(), r.Switch, r.store.Call, local)
				}
				r.mustBe(t, tt.state)
			})
		})
	}
}

func TestMissedProbesAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		miss := func(n int) {
			_, before := r.store.count()
			r.store.now(behaviour{lag: time.Second})
			for now := before; now < before+n; _, now = r.store.count() {
				time.Sleep(10 * time.Millisecond)
			}
			r.store.now(behaviour{})
			time.Sleep(5 * time.Second)
			r.mustBe(t, Up)
		}
		generation := r.Status().Generation
		for range 5 {
			miss(2)
			if got := r.Status().Generation; got != generation {
				t.Fatal("two missed probes tripped")
			}
		}
		miss(3)
		if got := r.Status().Generation; got != generation+3 {
			t.Fatalf("generation %d after three missed probes, want one trip after %d", got, generation)
		}
		miss(2)
		if got := r.Status().Generation; got != generation+3 {
			t.Fatal("probes missed before the store came back were counted again")
		}
	})
}

func TestTheFirstProbeMayBeSlow(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		r.mustBe(t, Up)
	}, func(r *rig) {
		lag := 100 * time.Millisecond // to connect
		r.cfg.Probe = func(ctx context.Context) (Epoch, error) {
			defer func() { lag = 0 }()
			return Epoch{}, sleep(ctx, lag)
		}
	})
}

func TestStoreSlowerThanTheBudgetStaysDown(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		time.Sleep(10 * time.Second)
		r.mustBe(t, Down)
		if !errors.Is(r.Status().Reason, errSlow) {
			t.Errorf("reason: %v", r.Status().Reason)
		}
		r.store.now(behaviour{lag: 10 * time.Millisecond})
		time.Sleep(time.Second)
		r.mustBe(t, Up)
	}, func(r *rig) { r.store.lag = 100 * time.Millisecond })
}

func TestChangesAreToldInOrder(t *testing.T) {
	var order []uint64
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		for range 20 {
			time.Sleep(700 * time.Millisecond) // at any phase of the loop
			r.report(r.load(), Fault, errRefused)
		}
		time.Sleep(time.Second)
		r.mustBe(t, Up)
	}, func(r *rig) {
		r.cfg.StableAfter = time.Millisecond
		r.cfg.OnChange = func(c Change) {
			time.Sleep(100 * time.Millisecond) // a slow listener
			order = append(order, c.Generation)
			if (c.To == Down) != (c.Reason != nil) {
				t.Errorf("reason of %v: %v", c.To, c.Reason)
			}
		}
	})
	if len(order) < 40 {
		t.Fatalf("%d changes", len(order))
	}
	for i, g := range order {
		if g != uint64(i+1) {
			t.Fatalf("generations reported: %v", order)
		}
	}
}

func TestRunEndsInTheMiddleOfAnything(t *testing.T) {
	hang := func(ctx context.Context) error { return sleep(ctx, time.Hour) }
	for _, tt := range []struct {
		name    string
		prepare func(*rig)
		now     behaviour     // after 100 ms
		after   time.Duration // from then to the end
	}{
		{"the first probe", func(r *rig) { r.store.lag = time.Hour }, behaviour{}, 0},
		{"a rejoin", func(r *rig) { onRejoin(r.Switch, "x", hang) }, behaviour{}, 0},
		{"a wait", func(*rig) {}, behaviour{}, 0},
		{"a probe of a store that is up", func(*rig) {}, behaviour{lag: time.Hour}, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				time.Sleep(100 * time.Millisecond)
				r.store.now(tt.now)
				time.Sleep(tt.after)
				r.stop()
				select {
				case <-r.Probed():
				default:
					t.Error("Probed is not closed: waiting for it would block forever")
				}
				if err := r.Status().Reason; errors.Is(err, context.Canceled) {
					t.Errorf("stopping was reported as a fault: %v", err)
				}
			}, tt.prepare)
		})
	}
}

func TestNilSwitchIsLocal(t *testing.T) {
	var s *Switch
	if s.Up() {
		t.Error("up")
	}
	got, err := do(t.Context(), s, func(context.Context) (string, error) {
		t.Error("a nil Switch called the store")
		return "", nil
	}, local)
	if got != "local" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestManyCallers runs a thousand callers on a store that comes and goes, in real time: every call
// is answered, and only the store gives remote answers.
func TestManyCallers(t *testing.T) {
	var up atomic.Bool
	up.Store(true)
	ask := func(context.Context) (string, error) {
		if up.Load() {
			return "remote", nil
		}
		return "", errRefused
	}
	var generation uint64
	s := New(Config{
		Probe:        func(ctx context.Context) (Epoch, error) { _, err := ask(ctx); return Epoch{}, err },
		Classify:     classify,
		UpInterval:   5 * time.Millisecond,
		DownInterval: 5 * time.Millisecond,
		MaxHold:      5 * time.Millisecond,
		OnChange: func(c Change) {
			if generation++; c.Generation != generation {
				t.Errorf("generation %d reported as number %d", c.Generation, generation)
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	<-s.Probed()

	var callers sync.WaitGroup
	var answered [2]atomic.Int64
	for range 1000 {
		callers.Go(func() {
			request := withBudget(ctx)
			for range 100 {
				got, err := do(request, s, ask, local)
				switch {
				case err != nil:
					t.Errorf("error %v", err)
				case got == "remote":
					answered[0].Add(1)
				case got == "local":
					answered[1].Add(1)
				default:
					t.Errorf("answer %q", got)
				}
			}
		})
	}
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		up.Store(!up.Load())
	}
	callers.Wait()
	up.Store(true)
	for !s.Up() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
	if n := answered[0].Load() + answered[1].Load(); n != 100_000 {
		t.Errorf("%d answers", n)
	}
	if st := s.Status(); st.Generation != generation {
		t.Errorf("generation %d, but %d reported", st.Generation, generation)
	}
}

func ExampleAsk() {
	s := New(Config{
		Probe:    func(context.Context) (Epoch, error) { return Epoch{}, nil },
		Classify: classify,
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	<-s.Probed()

	n, answered, err := Ask(ctx, s, func(context.Context) (int, error) { return 0, errRefused }) // the store has just died
	if !answered {
		n = 42 // decided locally
	}
	fmt.Println(n, err, s.Up())
	stop()
	<-ended
	// Output: 42 connection refused false
}

// do asks the store and falls back to local, as callers do.
func do(ctx context.Context, s *Switch, remote func(context.Context) (string, error), local func() (string, error)) (string, error) {
	if v, answered, err := Ask(ctx, s, remote); answered {
		return v, err
	}
	return local()
}

func withBudget(ctx context.Context) context.Context {
	return context.WithValue(ctx, BudgetKey{}, new(Budget))
}

// hook is a backlog of one item, which a rejoin replays.
type hook struct {
	bring   func(context.Context) error
	pending bool
}

func (h *hook) Replay()       { h.pending = true }
func (h *hook) Pending() bool { return h.pending }
func (h *hook) Waiting() int  { return 0 }

func (h *hook) Drain(ctx context.Context) error {
	err := h.bring(ctx)
	h.pending = err != nil
	return err
}

func onRejoin(s *Switch, name string, bring func(context.Context) error) {
	s.Brings(name, &hook{bring: bring})
}
