// Package failover decides whether a request may ask a remote store or is answered from local
// memory. One Switch stands for one store. Everything that uses the store shares it, so that after
// a fault met by one feature the others need not wait.
//
//	Up → Down → Rejoining → Up
//
// Requests never probe. One loop (Run) does, through the same client that requests use, and sends
// the store what it missed (Backlog) before requests use it again. The package knows no particular
// store: Config.Classify says what an error means, and the Epoch of Config.Probe shows whether data
// was lost. docs/how-it-works/failover.md describes it in full, with its times.
package failover

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// State is the state of a Switch.
type State uint64

// The states. While Down or Rejoining, requests are answered locally.
const (
	Down State = iota
	Rejoining
	Up
)

// String gives the state's name in logs and metrics.
func (s State) String() string {
	return [...]string{"down", "rejoining", "up"}[s]
}

// MarshalText gives the name in JSON too.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// errSlow keeps the Switch Down if the store works, but slower than the budget of a request: once
// Up, it would trip again at once.
var errSlow = errors.New("the store is slower than the budget of a request")

// turnsPerProcessor is Config.InFlight's default.
const turnsPerProcessor = 20

// Config configures a Switch. Probe and Classify are required.
type Config struct {
	// Probe does what requests need, including a write, increments the store's epoch and returns
	// it; ctx bounds it. The zero Epoch means that the store has none.
	Probe func(ctx context.Context) (Epoch, error)
	// Renew is called when the store has lost data. It creates another incarnation unless the store
	// already holds one that differs from last's, raises the counter above last's (never lowers
	// it), and returns the resulting epoch. So every gateway notices a loss once. ctx bounds it.
	// nil: the probe's epoch is used.
	Renew func(ctx context.Context, last Epoch) (Epoch, error)
	// Barrier returns how long to wait for the other gateways before going Up; ctx bounds it. On an
	// error there is no wait; maxBarrier caps it. nil: no wait.
	Barrier func(ctx context.Context) (time.Duration, error)
	// Rejoining reports whether other gateways are waiting at the barrier; ctx bounds it. It is
	// asked during a hold after flapping, so that a less patient gateway that finds the store back
	// does so for all. nil: other gateways are not followed.
	Rejoining func(ctx context.Context) (bool, error)
	// Classify says what an error of a remote call or of Probe means. The error is never nil.
	Classify func(err error) Kind
	// OnChange receives every change of state, in order of generation, one call at a time, on Run's
	// goroutine. nil: it is not called.
	OnChange func(Change)

	// InFlight bounds the calls of Ask that ask the store at once; the others wait for their turn
	// within their budget. So it bounds the goroutines and connections that a hanging store costs.
	// 0: 20 per processor, twice as many as a pool of internal/store/redis has connections.
	InFlight int

	Budget        time.Duration    // of one request, all calls together; 0: 50 ms
	ProbeTimeout  time.Duration    // of Probe, Renew, Barrier and Rejoining each; 0: 250 ms
	RejoinTimeout time.Duration    // of each part of a Backlog; 0: 5 s
	UpInterval    time.Duration    // between probes while Up, jittered by a quarter; 0: 500 ms
	DownInterval  time.Duration    // between probes while Down or in doubt, jittered likewise; 0: 250 ms
	StableAfter   time.Duration    // a store that trips sooner after going Up is flapping; 0: 5 s
	MaxHold       time.Duration    // the longest hold of a flapping store; 0: 4 s
	Now           func() time.Time // for displayed timestamps only; nil: time.Now
}

func (c Config) withDefaults() Config {
	orDuration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	orDuration(&c.Budget, 50*time.Millisecond)
	orDuration(&c.ProbeTimeout, 250*time.Millisecond)
	orDuration(&c.RejoinTimeout, 5*time.Second)
	orDuration(&c.UpInterval, 500*time.Millisecond)
	orDuration(&c.DownInterval, 250*time.Millisecond)
	orDuration(&c.StableAfter, 5*time.Second)
	orDuration(&c.MaxHold, 4*time.Second)
	if c.InFlight == 0 {
		c.InFlight = turnsPerProcessor * runtime.GOMAXPROCS(0)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnChange == nil {
		c.OnChange = func(Change) {}
	}
	return c
}

// Switch is the state machine. A nil *Switch stands for a store that is not configured: Up is false
// and Ask never answers, which is not a degradation.
type Switch struct {
	cfg     Config
	word    atomic.Uint64 // a word: the only load on the hot path
	tally   tally
	turns   chan struct{} // of calls; capacity Config.InFlight
	tripped chan struct{} // wakes the loop; capacity 1
	probed  chan struct{} // closed after the first probe
	missed  int           // probes in a row that timed out while Up; used by Run only
	tried   uint64        // the generation of the last probe while Down; used by Run only
	loss    error         // found and not yet repaired; used by Run only
	woken   chan struct{} // a backlog may have grown; capacity 1

	backlogs []namedBacklog // fixed before Run

	mu        sync.Mutex
	since     time.Time // by Config.Now; guarded by mu
	entered   time.Time // the same moment in real time; guarded by mu
	held      time.Time // no probe while Down before this time; guarded by mu
	strikes   int       // short lives in a row; guarded by mu
	lostInRow int       // how many of the latest strikes were losses; guarded by mu
	last      Epoch     // last seen; written by Run only, guarded by mu
	reason    error     // guarded by mu
	counts    Counts    // guarded by mu; what tally holds is zero
	timeIn    Times     // before entered; guarded by mu
	history   []Change  // at most historySize; guarded by mu
	pending   []Change  // not yet delivered, guarded by mu; Run's own changes, and at most one trip for each time Up
}

// New returns a Switch that is Down until Run has probed the store.
func New(cfg Config) *Switch {
	cfg = cfg.withDefaults()
	return &Switch{
		cfg:     cfg,
		turns:   make(chan struct{}, cfg.InFlight),
		tripped: make(chan struct{}, 1),
		probed:  make(chan struct{}),
		woken:   make(chan struct{}, 1),
		since:   cfg.Now(),
		entered: time.Now(),
	}
}

// RehearsalBudget is the least budget of a rehearsal, which may have to connect first. A person waits
// for it, also while the store hangs.
const RehearsalBudget = 80 * time.Millisecond

// Rehearse returns a Switch in the state of s, or one that is Down, whose calls change nothing of s.
// Without Run it never goes Up again. A nil s gives nil.
func Rehearse(s *Switch, down bool) *Switch {
	if s == nil {
		return nil
	}
	cfg := s.cfg
	cfg.OnChange, cfg.Budget = nil, max(cfg.Budget, RehearsalBudget)
	copied := New(cfg)
	if !down {
		copied.word.Store(s.word.Load())
	}
	return copied
}

// Up reports whether requests may use the store now.
func (s *Switch) Up() bool { return s != nil && s.load().state() == Up }

// Probed is closed once the first probe and its rejoin have ended, whether or not they succeeded. A
// store that is unavailable from the start causes no change of state: to report it, wait for Probed
// and check Status.
func (s *Switch) Probed() <-chan struct{} { return s.probed }

func (s *Switch) load() word { return word(s.word.Load()) }

// change moves from the word seen to state to. It does nothing and returns false if the word has
// changed meanwhile.
func (s *Switch) change(seen word, to State, reason error) bool {
	stamp, next := s.cfg.Now(), seen.next(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.word.CompareAndSwap(uint64(seen), uint64(next)) {
		return false
	}
	c := Change{At: stamp, From: seen.state(), To: to, Generation: next.generation(), Reason: reason}
	now := time.Now()
	lasted := now.Sub(s.entered)
	s.since, s.entered = stamp, now
	s.timeIn[c.From] += lasted
	if to == Down {
		s.holdLocked(c, lasted)
	}
	if reason != nil {
		s.reason = reason
	}
	s.rememberLocked(c)
	s.pending = append(s.pending, c)
	return true
}

// tell delivers the changes made so far. Only Run's goroutine calls it, which keeps their order,
// and no request waits for OnChange.
func (s *Switch) tell() {
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, c := range pending {
		s.cfg.OnChange(c)
	}
}
