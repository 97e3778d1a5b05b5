package failover

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// The times of the model's Switch. A hook may hang for as long as rejoinTime.
const (
	rejoinTime = time.Second
	hookCount  = 2
	spread     = 250 * time.Millisecond / 4
)

// wayBack is the longest time until a Switch is Up once all faults have ended: what hangs ends, the
// hold ends, and then one round succeeds.
func (c Config) wayBack() time.Duration {
	hangs := hookCount*c.RejoinTimeout + 3*c.ProbeTimeout + maxBarrier
	return hangs + c.MaxHold + 2*c.DownInterval + maxBarrier + time.Second
}

// requestError is the outcome of one request; its number appears in the reason for a trip. All
// other trips come from probes.
type requestError struct {
	id  int
	err error
}

func (e *requestError) Error() string { return fmt.Sprintf("request %d: %v", e.id, e.err) }
func (e *requestError) Unwrap() error { return e.err }

// pendingCall is a request whose remote call ends only when told to, and ignores its deadline.
type pendingCall struct {
	id      int
	seen    word
	release chan error
	ended   chan struct{}
	got     string
	err     error
}

// model runs a Switch over a store controlled by the actions below, and predicts from the
// documented rules what the Switch must do. Probes, hooks and renewals run on the Switch's
// goroutine; mu synchronises them with the test's.
type model struct {
	t       *rapid.T
	s       *Switch
	begin   time.Time
	calls   int
	pending []*pendingCall

	mu       sync.Mutex
	broken   string // the first violation seen outside of the test's goroutine
	store    epochs
	probing  string // what a probe does
	healthy  time.Time
	probed   time.Time        // when the last probe began
	counter  int64            // of the epoch
	hooks    [hookCount]error // what the hooks do; errHang: hang
	barrier  time.Duration    // the barrier's result; negative: an error
	lossAt   time.Time        // of the last loss not yet repaired
	losses   int
	hangs    int              // probes in a row that timed out while Up
	faulty   bool             // the last probe was a reason to trip
	ran      map[uint64][]int // successful hooks, by generation
	sawLoss  map[uint64]int   // losses before the first hook of a generation
	sure     map[uint64]bool  // generations whose last step was a successful probe
	history  []Change         // unbounded
	strikes  int              // computed from the history
	lostRow  int              // how many of the latest strikes were losses
	free     bool             // the last strike causes no hold
	inRow    int              // timeouts in a row in the present generation
	tripping map[int]bool     // requests that must have tripped
	counts   Counts           // counted by the model
	timeIn   map[State]time.Duration
}

var errHang = errors.New("hangs")

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, begin: time.Now(), probing: "ok", healthy: time.Now(),
		ran: map[uint64][]int{}, sawLoss: map[uint64]int{}, sure: map[uint64]bool{}, tripping: map[int]bool{}, timeIn: map[State]time.Duration{},
	}
	m.store.now = Epoch{"first", 100, "s"}
	m.s = New(Config{
		Probe: m.probe, Renew: m.store.Renew, Classify: classify, RejoinTimeout: rejoinTime,
		Barrier: func(context.Context) (time.Duration, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.barrier < 0 {
				return time.Hour, errRefused
			}
			return m.barrier, nil
		},
	})
	for i := range m.hooks {
		onRejoin(m.s, fmt.Sprint("hook ", i), func(ctx context.Context) error { return m.hook(ctx, i) })
	}
	return m
}

// violate records a broken rule; the test's goroutine reports it.
func (m *model) violate(format string, args ...any) {
	if m.broken == "" {
		m.broken = fmt.Sprintf("after %v: ", time.Since(m.begin)) + fmt.Sprintf(format, args...)
	}
}

// probe is Config.Probe, and checks that the store is left alone during a hold.
func (m *model) probe(ctx context.Context) (Epoch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learnLocked()
	m.probed = time.Now()
	state, generation := m.s.load().state(), m.s.load().generation()
	if n := len(m.history); n > 0 && state == Down {
		if c := m.history[n-1]; time.Since(c.At) < m.hold()-spread {
			m.violate("a probe %v after a trip (%v), the %d. in a row", time.Since(c.At), c.Reason, m.strikes)
		}
	}
	doing := m.probing
	m.mu.Unlock()
	epoch, err := m.doProbe(ctx, doing)
	m.mu.Lock()
	if err != nil {
		m.counts.ProbeErrors++
	}
	// If the Switch has tripped meanwhile, the outcome is ignored.
	if m.s.load().generation() == generation && state == Up {
		m.judgeProbe(err)
	}
	if state == Rejoining {
		m.sure[generation] = err == nil && len(m.ran[generation]) == hookCount
	}
	return epoch, err
}

func (m *model) doProbe(ctx context.Context, doing string) (Epoch, error) {
	switch doing {
	case "refused":
		return Epoch{}, errRefused
	case "forbidden":
		return Epoch{}, errType
	case "hangs":
		<-ctx.Done()
		return Epoch{}, ctx.Err()
	case "slow":
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return Epoch{}, err
		}
	}
	return m.store.Probe(ctx)
}

// judgeProbe reports whether the outcome of a probe while Up is a reason to trip.
func (m *model) judgeProbe(err error) {
	switch {
	case err == nil:
		m.hangs = 0
		m.faulty = !m.lossAt.IsZero()
	case errors.Is(err, context.DeadlineExceeded):
		m.hangs++
		m.faulty = m.hangs >= 3
	default:
		m.faulty = true
	}
}

// hold is the hold after the last change, plus or minus spread.
func (m *model) hold() time.Duration {
	if m.free {
		return 0
	}
	hold := 250 * time.Millisecond
	for range m.strikes - 1 {
		hold *= 2
	}
	return min(hold, 4*time.Second)
}

func (m *model) hook(ctx context.Context, i int) error {
	m.mu.Lock()
	generation, does := m.s.load().generation(), m.hooks[i]
	if m.s.load().state() != Rejoining {
		m.violate("hook %d runs in %v", i, m.s.load().state())
	}
	if i == 0 {
		m.sawLoss[generation] = m.losses
	}
	m.mu.Unlock()
	if does == errHang {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := sleep(ctx, 5*time.Millisecond); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if does == nil {
		m.ran[generation] = append(m.ran[generation], i)
	}
	return does
}

// learn takes the changes since its last call and checks them.
func (m *model) learn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learnLocked()
}

func (m *model) learnLocked() {
	for _, c := range m.s.Status().History {
		if c.Generation > uint64(len(m.history)) {
			m.judgeChange(c)
			m.history = append(m.history, c)
		}
	}
}

func (m *model) judgeChange(c Change) {
	from, entered := Down, m.begin
	if n := len(m.history); n > 0 {
		from, entered = m.history[n-1].To, m.history[n-1].At
	}
	if c.From != from || c.Generation != uint64(len(m.history)+1) {
		m.violate("change %+v after %v changes, the last to %v", c, len(m.history), from)
	}
	lasted := c.At.Sub(entered)
	m.timeIn[c.From] += lasted
	m.inRow, m.hangs = 0, 0
	switch {
	case c.From == Down && c.To == Rejoining:
		if c.Reason != nil {
			m.counts.Losses++
		}
	case c.From == Rejoining && c.To == Up:
		m.counts.Rejoins++
		m.judgeUp(c.Generation - 1)
	case c.From == Rejoining && c.To == Down:
		m.counts.FailedRejoins++
		m.strikes++
	case c.From == Up && c.To == Down:
		m.counts.Trips++
		if lasted >= 5*time.Second {
			m.strikes, m.lostRow = 0, 0
		}
		m.strikes++
		m.judgeTrip(c)
	default:
		m.violate("a change from %v to %v", c.From, c.To)
	}
	if c.To == Down {
		if m.lostRow++; !errors.Is(c.Reason, ErrLost) {
			m.lostRow = 0
		}
		m.free = m.lostRow == 1 || m.lostRow == 2
	}
	if (c.To == Down && c.Reason == nil) || (c.To == Up && c.Reason != nil) || (c.To == Rejoining && c.Reason != nil && !errors.Is(c.Reason, ErrLost)) {
		m.violate("a change to %v has the reason %v", c.To, c.Reason)
	}
}

// judgeUp checks that Up follows only after all hooks, in order, and a last probe, and that the
// hooks began after the last loss.
func (m *model) judgeUp(rejoin uint64) {
	ran := m.ran[rejoin]
	if len(ran) != hookCount || ran[0] != 0 || ran[1] != 1 {
		m.violate("up after the hooks %v in generation %d", ran, rejoin)
	}
	if !m.sure[rejoin] {
		m.violate("up in generation %d without a last probe", rejoin+1)
	}
	if m.sawLoss[rejoin] != m.losses {
		m.violate("up with what was replayed before a loss")
	}
	m.lossAt = time.Time{}
}

// judgeTrip checks that the Switch trips by the rule and for no other reason.
func (m *model) judgeTrip(c Change) {
	if request, ok := errors.AsType[*requestError](c.Reason); ok {
		if !m.tripping[request.id] {
			m.violate("tripped by %v, which must not trip", request)
		}
		return
	}
	if !m.faulty {
		m.violate("tripped by a probe without reason: %v", c.Reason)
	}
	m.faulty = false
}

// outcome returns the meaning of an ended call by the trip rule, and what Do must have returned.
func (m *model) outcome(id int, seen word, kind Kind, err error, counts bool) (want string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.s.Status()
	moved := st.Generation != seen.generation()
	if moved { // was it this very call?
		for _, c := range st.History {
			var request *requestError
			if c.Generation == seen.generation()+1 && errors.As(c.Reason, &request) && request.id == id {
				moved = false
			}
		}
	}
	if counts {
		switch kind {
		case Rejection:
			m.counts.Rejections++
		case Timeout:
			m.counts.Timeouts++
		case Fault:
			m.counts.Faults++
		case Answer:
			if moved {
				m.counts.Late++
			}
		}
	}
	if counts && !moved {
		if kind == Timeout {
			m.inRow++
		} else {
			m.inRow = 0
		}
		if kind == Fault || m.inRow == 3 {
			m.tripping[id] = true
			if st.Generation == seen.generation() {
				m.violate("%v did not trip after %d timeouts in a row", err, m.inRow)
			}
		}
	}
	if kind == Answer && counts && !moved {
		return "remote"
	}
	return "local"
}

// Call makes a request and compares the result with the rules.
func (m *model) Call(t *rapid.T) {
	kind := rapid.SampledFrom([]string{"answer", "answer", "not found", "rejected", "refused", "hangs", "hangs", "hangs", "caller leaves", "caller's deadline", "little budget", "no budget"}).Draw(t, "call")
	synctest.Wait()
	m.calls++
	id, seen, asked := m.calls, m.s.load(), false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx = withBudget(ctx)
	var answer error
	switch kind {
	case "not found":
		answer = &requestError{id, errNotFound}
	case "rejected":
		answer = &requestError{id, errType}
	case "refused":
		answer = &requestError{id, errRefused}
	case "caller leaves":
		time.AfterFunc(10*time.Millisecond, cancel)
	case "caller's deadline":
		inTime, done := context.WithTimeout(ctx, 20*time.Millisecond)
		defer done()
		ctx = inTime
	case "little budget":
		budgetOf(ctx).Spend(30 * time.Millisecond)
	case "no budget":
		budgetOf(ctx).Spend(46 * time.Millisecond)
	}
	start := time.Now()
	got, err := do(ctx, m.s, func(ctx context.Context) (string, error) {
		asked = true
		if m.s.load().state() != Up {
			t.Errorf("the store was asked while %v", m.s.load().state())
		}
		switch kind {
		case "answer", "not found", "rejected", "refused":
			return "remote", answer
		}
		<-ctx.Done()
		answer = &requestError{id, ctx.Err()}
		return "", answer
	}, local)
	if d := time.Since(start); d > 50*time.Millisecond {
		t.Fatalf("a request waited %v", d)
	}
	if want := seen.state() == Up && kind != "no budget"; asked != want {
		t.Fatalf("asked %v while %v", asked, seen.state())
	}
	want := "local"
	if asked {
		counts := kind != "caller leaves" && kind != "caller's deadline" && kind != "little budget"
		k := Answer
		if answer != nil {
			k = classify(answer)
		}
		want = m.outcome(id, seen, k, answer, counts)
	}
	wantErr := error(nil)
	if want == "remote" {
		wantErr = answer
	}
	if got != want || !errors.Is(err, wantErr) {
		t.Fatalf("a call that %q was answered %q, %v; want %q, %v", kind, got, err, want, wantErr)
	}
	if got, err := do(t.Context(), nil, func(context.Context) (string, error) { return "remote", nil }, local); got != "local" || err != nil {
		t.Fatalf("without a store: %q, %v", got, err)
	}
}

// Begin starts a request whose remote call ends when End is called.
func (m *model) Begin(t *rapid.T) {
	synctest.Wait()
	if len(m.pending) == 3 || !m.s.Up() {
		t.Skip("none may begin")
	}
	m.calls++
	p := &pendingCall{id: m.calls, seen: m.s.load(), release: make(chan error), ended: make(chan struct{})}
	m.pending = append(m.pending, p)
	go func() {
		defer close(p.ended)
		p.got, p.err = do(context.Background(), m.s, func(context.Context) (string, error) { return "remote", <-p.release }, local)
	}()
	synctest.Wait()
}

// End ends a request's remote call.
func (m *model) End(t *rapid.T) {
	if len(m.pending) == 0 {
		t.Skip("none is pending")
	}
	i := rapid.IntRange(0, len(m.pending)-1).Draw(t, "which")
	p := m.pending[i]
	m.pending = append(m.pending[:i], m.pending[i+1:]...)
	err := rapid.SampledFrom([]error{nil, nil, errNotFound, errType, context.DeadlineExceeded, errRefused}).Draw(t, "outcome")
	synctest.Wait()
	kind, answer := Answer, error(nil)
	if err != nil {
		kind, answer = classify(err), &requestError{p.id, err}
	}
	p.release <- answer
	<-p.ended
	want := m.outcome(p.id, p.seen, kind, answer, true)
	if p.got != want {
		t.Fatalf("the result %v of generation %d was answered %q in generation %d, want %q", err, p.seen.generation(), p.got, m.s.Status().Generation, want)
	}
}

// Store sets whether the store works.
func (m *model) Store(t *rapid.T) {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := rapid.SampledFrom([]string{"ok", "ok", "refused", "forbidden", "slow", "hangs"}).Draw(t, "probes")
	if now == "ok" && m.probing != "ok" {
		m.healthy = time.Now()
	}
	m.probing = now
}

// Blip makes probes hang for a short time, which may be too short to trip.
func (m *model) Blip(t *rapid.T) {
	m.mu.Lock()
	before := m.probing
	m.probing = "hangs"
	m.mu.Unlock()
	time.Sleep(time.Duration(rapid.IntRange(100, 1200).Draw(t, "ms")) * time.Millisecond)
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.probing = before; before == "ok" {
		m.healthy = time.Now()
	}
}

// Hooks sets whether hooks work.
func (m *model) Hooks(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.hooks {
		m.hooks[i] = rapid.SampledFrom([]error{nil, nil, nil, errRefused, errHang}).Draw(t, fmt.Sprint("hook ", i))
	}
	m.barrier = rapid.SampledFrom([]time.Duration{0, 0, 400 * time.Millisecond, time.Hour, -1}).Draw(t, "barrier")
}

// Lose deletes the store's data. The Switch can miss only what it has seen.
func (m *model) Lose(t *rapid.T) {
	synctest.Wait()
	loss := rapid.SampledFrom(losses).Draw(t, "loss")
	m.learn()
	if m.s.Status().Epoch.Incarnation == "" {
		t.Skip("nothing was seen")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.losses++
	m.store.set(func(e *Epoch) {
		loss.lose(e)
		if e.Incarnation == "stranger" {
			e.Incarnation += fmt.Sprint(m.losses) // each one is unique
		}
	})
	m.lossAt = time.Now()
}

// Wait lets time pass.
func (m *model) Wait(t *rapid.T) {
	d := rapid.IntRange(1, 1000).Draw(t, "ms")
	if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
		d *= 8
	}
	time.Sleep(time.Duration(d) * time.Millisecond)
}

// check checks what must hold at any time.
func (m *model) check(t *rapid.T) {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learnLocked()
	if m.broken != "" {
		t.Fatal(m.broken)
	}
	st := m.s.Status()
	if st.Counts != m.counts {
		t.Fatalf("counts %+v, want %+v", st.Counts, m.counts)
	}
	var sum time.Duration
	for state, d := range st.TimeIn {
		sum += d
		if past := m.timeIn[State(state)]; d < past || (State(state) != st.State && d != past) {
			t.Fatalf("%v in %v, want %v or, in the present state, more", d, State(state), past)
		}
	}
	if whole := time.Since(m.begin); sum != whole {
		t.Fatalf("%v in all states together, want %v", sum, whole)
	}
	if c := len(m.history) - 1; c >= 0 && st.State == Down && m.probed.Before(st.Since) && time.Since(st.Since) > m.hold()+spread {
		t.Fatalf("held for %v already, strike %d in a row", time.Since(st.Since), m.strikes)
	}
	if st.Epoch.Counter < m.counter {
		t.Fatalf("the epoch's counter fell from %d to %d", m.counter, st.Epoch.Counter)
	}
	m.counter = st.Epoch.Counter
	// A loss is noticed by the next probe that succeeds.
	if st.State == Up && !m.lossAt.IsZero() && m.probing == "ok" {
		since := m.lossAt
		if m.healthy.After(since) {
			since = m.healthy
		}
		if d := time.Since(since); d > 250*time.Millisecond+625*time.Millisecond {
			t.Fatalf("a loss was not noticed in %v", d)
		}
	}
}

// end repairs everything: the Switch must come back.
func (m *model) end(t *rapid.T) {
	for len(m.pending) > 0 {
		m.End(t)
	}
	m.mu.Lock()
	m.probing, m.hooks, m.barrier = "ok", [hookCount]error{}, 0
	m.mu.Unlock()
	time.Sleep(m.s.cfg.wayBack())
	m.check(t)
	if st := m.s.Status(); st.State != Up || st.Epoch.Incarnation == "" || !m.lossAt.IsZero() {
		t.Fatalf("stuck in %v: %v", st.State, st.Reason)
	}
}

// TestModel runs random histories of a store, its requests and its consumers.
func TestModel(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // see bubble
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := newModel(t)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() { defer close(ended); m.s.Run(ctx) }()
			defer func() {
				for _, p := range m.pending { // left over from a failed run
					p.release <- nil
				}
				cancel()
				<-ended
			}()
			t.Repeat(map[string]func(*rapid.T){
				"": m.check, "call": m.Call, "call again": m.Call, "begin": m.Begin, "end": m.End,
				"store": m.Store, "hooks": m.Hooks, "lose": m.Lose, "blip": m.Blip, "wait": m.Wait, "wait more": m.Wait,
			})
			m.end(t)
		})
	})
}
