// Package failover is the one decision about a remote store's health: may this
// request ask it, or is it answered from local memory? One Switch stands for
// one store; everything that uses the store shares it, so that a fault that
// one feature meets spares all others the wait.
//
//	Up → Down → Rejoining → Up
//
// Requests never probe. One loop (Run) does, through the very client that
// requests use, and runs the Rejoin hooks before requests go remote again.
// The package knows no store: what an error means is told by Config.Classify.
package failover

import (
	"context"
	"errors"
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

// word packs what the hot path must know into one atomic load: generation<<4 |
// timeouts in a row<<2 | state. A report of an earlier generation fails its
// compare-and-swap, and so cannot count against the store as it is now.
type word uint64

func (w word) state() State       { return State(w & 3) }
func (w word) timeouts() int      { return int(w>>2) & 3 }
func (w word) generation() uint64 { return uint64(w >> 4) }

// next is the word after a change of state.
func (w word) next(to State) word { return word(w.generation()+1)<<4 | word(to) }

// with is the word with another count of timeouts.
func (w word) with(timeouts int) word { return w&^(3<<2) | word(timeouts)<<2 }

// Kind is what an error says about the store.
type Kind int

// The kinds of errors.
const (
	Answer    Kind = iota // it is the consumer's answer, such as "not found": the store works
	Rejection             // the store works but did not do this: a value of a wrong type, a script's error
	Timeout               // it may be slow: three in a row are a fault
	Fault                 // it cannot serve: refused, read-only, full, loading, ...
)

// timeoutsToTrip is how many timeouts in a row take the store out: one may be a
// slow command, three are not.
const timeoutsToTrip = 3

// errSlow is the reason for staying Down when the store works, but not within
// what a request may wait: taken up, it would be dropped again at once.
var errSlow = errors.New("the store is slower than the budget of a request")

// Config configures a Switch. Probe and Classify are required.
type Config struct {
	// Probe does what requests need, a write among it; ctx bounds it.
	Probe func(ctx context.Context) error
	// Classify says what an error of a remote call or of Probe means; it is
	// never asked about nil.
	Classify func(err error) Kind
	// OnChange is told of every change of state, in order of generation, one
	// call at a time, on Run's goroutine; nil: nobody is.
	OnChange func(Change)

	Budget        time.Duration // of one request, all calls together; 0: 50 ms
	ProbeTimeout  time.Duration // 0: 250 ms
	RejoinTimeout time.Duration // of one hook; 0: 5 s
	UpInterval    time.Duration // between probes while Up; 0: 1 s
	DownInterval  time.Duration // between probes while Down or in doubt, jittered by a quarter; 0: 250 ms
	Now           func() time.Time
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
	orDuration(&c.UpInterval, time.Second)
	orDuration(&c.DownInterval, 250*time.Millisecond)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnChange == nil {
		c.OnChange = func(Change) {}
	}
	return c
}

// Change is one change of state.
type Change struct {
	From, To   State
	Generation uint64 // counts the changes
	Reason     error  // why, on the way down
}

// Status is a Switch's state for people.
type Status struct {
	State      State
	Generation uint64
	Since      time.Time
	Reason     error // of the last fault; nil if there was none
}

// hook is one consumer's part in a rejoin.
type hook struct {
	name   string
	rejoin func(ctx context.Context) error
}

// Switch is the state machine. A nil *Switch stands for a store that is not
// configured: Up is false and Do is always local, and that is no degradation.
type Switch struct {
	cfg     Config
	word    atomic.Uint64 // a word: the hot path's one load
	tripped chan struct{} // wakes the loop; capacity 1
	probed  chan struct{} // closed after the first probe
	missed  int           // probes in a row that timed out while Up; Run's alone

	mu      sync.Mutex
	since   time.Time // guarded by mu
	reason  error     // guarded by mu
	hooks   []hook    // guarded by mu
	pending []Change  // not yet told, guarded by mu; Run's own, and at most one trip each time it was Up
}

// New returns a Switch that is Down until Run has probed the store.
func New(cfg Config) *Switch {
	cfg = cfg.withDefaults()
	return &Switch{
		cfg:     cfg,
		tripped: make(chan struct{}, 1),
		probed:  make(chan struct{}),
		since:   cfg.Now(),
	}
}

// OnRejoin registers what a consumer must bring to the store before requests
// use it again; an error keeps the store Down. Hooks run one after the other,
// in the order of registration. Register before Run.
func (s *Switch) OnRejoin(name string, rejoin func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, hook{name, rejoin})
}

// Up reports whether requests may use the store now.
func (s *Switch) Up() bool { return s != nil && s.load().state() == Up }

// Probed is closed once the first probe, and the rejoin after it, have ended
// either way. A store that was away from the start makes no change of state:
// who wants to say so waits for this and asks Status.
func (s *Switch) Probed() <-chan struct{} { return s.probed }

// Status returns the state for people.
func (s *Switch) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.load()
	return Status{State: w.state(), Generation: w.generation(), Since: s.since, Reason: s.reason}
}

func (s *Switch) load() word { return word(s.word.Load()) }

// change moves from the word seen to state to; it does nothing, and reports
// false, if someone else was faster.
func (s *Switch) change(seen word, to State, reason error) bool {
	now, next := s.cfg.Now(), seen.next(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.word.CompareAndSwap(uint64(seen), uint64(next)) {
		return false
	}
	s.since = now
	if reason != nil {
		s.reason = reason
	}
	s.pending = append(s.pending, Change{From: seen.state(), To: to, Generation: next.generation(), Reason: reason})
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

// report takes note of what a call, begun while the word was seen, says about
// the store. It loops only while other reports interfere.
func (s *Switch) report(seen word, kind Kind, err error) {
	for {
		now := s.load()
		if now.generation() != seen.generation() {
			return // late: the store has been given up, or has come back, since
		}
		timeouts := 0
		switch kind {
		case Answer, Rejection:
		case Timeout:
			timeouts = now.timeouts() + 1
		case Fault:
			timeouts = timeoutsToTrip
		}
		if timeouts < timeoutsToTrip {
			if timeouts == now.timeouts() || s.word.CompareAndSwap(uint64(now), uint64(now.with(timeouts))) {
				return
			}
		} else if s.change(now, Down, err) {
			select {
			case s.tripped <- struct{}{}:
			default:
			}
			return
		}
	}
}
