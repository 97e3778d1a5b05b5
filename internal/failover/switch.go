// Package failover is the one decision about a remote store's health: may this
// request ask it, or is it answered from local memory? One Switch stands for
// one store; everything that uses the store shares it, so that a fault that
// one feature meets spares all others the wait.
//
//	Up → Down → Rejoining → Up
//
// Requests never probe. One loop (Run) does, through the very client that
// requests use, and tells the store what it missed (Backlog) before requests go
// remote again.
// The package knows no store: what an error means is told by Config.Classify,
// and what the store still holds by the Epoch that Config.Probe returns.
// docs/failover.md tells the whole of it, with its times.
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

// The states. In Down and Rejoining, requests are answered locally.
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

// errSlow is the reason for staying Down when the store works, but not within
// what a request may wait: taken up, it would be dropped again at once.
var errSlow = errors.New("the store is slower than the budget of a request")

// turnsPerProcessor is Config.InFlight's default.
const turnsPerProcessor = 20

// Config configures a Switch. Probe and Classify are required.
type Config struct {
	// Probe does what requests need, a write among it, counts the store's epoch
	// up and returns it; ctx bounds it. The zero Epoch: the store has none.
	Probe func(ctx context.Context) (Epoch, error)
	// Renew is called when the store was found lost. It makes another
	// incarnation unless the store already holds one other than last's, lifts
	// the counter above last's, never down, and returns what the store has
	// then. So all gateways notice one loss once. ctx bounds it. nil: what the
	// probe found is taken.
	Renew func(ctx context.Context, last Epoch) (Epoch, error)
	// Barrier returns how long to wait before going Up, for the others to come
	// along; ctx bounds it. With an error, or beyond maxBarrier, nobody waits
	// longer. nil: no wait.
	Barrier func(ctx context.Context) (time.Duration, error)
	// Rejoining reports whether other gateways wait at the barrier now; ctx bounds
	// it. It is asked while the store is left alone, since it flaps for this
	// gateway: one that is not as patient finds out for all that the store is back. nil:
	// nobody is followed.
	Rejoining func(ctx context.Context) (bool, error)
	// Classify says what an error of a remote call or of Probe means; it is
	// never asked about nil.
	Classify func(err error) Kind
	// OnChange is told of every change of state, in order of generation, one
	// call at a time, on Run's goroutine; nil: nobody is.
	OnChange func(Change)

	// InFlight is how many calls of Ask ask the store at once; the others wait for
	// their turn within their budget. It bounds the goroutines and connections
	// that a store which hangs costs. 0: 20 a processor, which is twice as many
	// as a pool of internal/store/redis holds connections.
	InFlight int

	Budget        time.Duration    // of one request, all calls together; 0: 50 ms
	ProbeTimeout  time.Duration    // of Probe, Renew, Barrier and Rejoining each; 0: 250 ms
	RejoinTimeout time.Duration    // of each part of a Backlog; 0: 5 s
	UpInterval    time.Duration    // between probes while Up, jittered by a quarter; 0: 500 ms
	DownInterval  time.Duration    // between probes while Down or in doubt, jittered likewise; 0: 250 ms
	StableAfter   time.Duration    // a store that was Up for less and is given up is flapping; 0: 5 s
	MaxHold       time.Duration    // the most that a flapping store is left alone; 0: 4 s
	Now           func() time.Time // stamps what people read; nil: time.Now
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

// Switch is the state machine. A nil *Switch stands for a store that is not
// configured: Up is false and Ask never answers, and that is no degradation.
type Switch struct {
	cfg     Config
	word    atomic.Uint64 // a word: the hot path's one load
	tally   tally
	turns   chan struct{} // of calls; capacity Config.InFlight
	tripped chan struct{} // wakes the loop; capacity 1
	probed  chan struct{} // closed after the first probe
	missed  int           // probes in a row that timed out while Up; Run's alone
	tried   uint64        // the generation of the last probe while Down; Run's alone
	loss    error         // found and not yet made good; Run's alone
	woken   chan struct{} // a backlog may have grown; capacity 1

	backlogs []namedBacklog // fixed before Run

	mu        sync.Mutex
	since     time.Time // by Config.Now; guarded by mu
	entered   time.Time // the same moment in real time; guarded by mu
	held      time.Time // no probe while Down before that; guarded by mu
	strikes   int       // short lives in a row; guarded by mu
	lostInRow int       // of them the last that ended with a loss; guarded by mu
	last      Epoch     // seen; written by Run alone, guarded by mu
	reason    error     // guarded by mu
	counts    Counts    // guarded by mu; what tally holds is zero
	timeIn    Times     // before entered; guarded by mu
	history   []Change  // at most historySize; guarded by mu
	pending   []Change  // not yet told, guarded by mu; Run's own, and at most one trip each time it was Up
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

// Up reports whether requests may use the store now.
func (s *Switch) Up() bool { return s != nil && s.load().state() == Up }

// Probed is closed once the first probe, and the rejoin after it, have ended
// either way. A store that was away from the start makes no change of state:
// who wants to say so waits for this and asks Status.
func (s *Switch) Probed() <-chan struct{} { return s.probed }

func (s *Switch) load() word { return word(s.word.Load()) }

// change moves from the word seen to state to; it does nothing, and reports
// false, if someone else was faster.
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

// tell delivers the changes made so far. Only Run's goroutine calls it, so that
// their order holds and no request waits for OnChange.
func (s *Switch) tell() {
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, c := range pending {
		s.cfg.OnChange(c)
	}
}
