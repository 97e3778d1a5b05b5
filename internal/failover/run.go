package failover

import (
	"context"
	"math/rand/v2"
	"time"
)

// Run probes the store and leads it back, until ctx is done. It is called
// once. After it the Switch stays as it is, but for requests that trip it.
func (s *Switch) Run(ctx context.Context) {
	s.step(ctx)
	close(s.probed)
	for s.wait(ctx) {
		s.step(ctx)
	}
}

// wait lets the time to the next probe pass and reports whether there is one. A
// store that trips in the meantime is left alone for the time of a Down store.
func (s *Switch) wait(ctx context.Context) bool {
	for {
		s.tell()
		interval := s.cfg.UpInterval
		if !s.Up() || s.missed > 0 {
			interval = s.cfg.DownInterval * time.Duration(75+rand.IntN(51)) / 100
		}
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
			return ctx.Err() == nil
		case <-s.tripped:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// step probes once and, if the store has come back, rejoins.
func (s *Switch) step(ctx context.Context) {
	seen := s.load()
	if seen.state() == Up {
		s.watch(ctx, seen)
		return
	}
	s.missed = 0
	if err := s.probeTwice(ctx); err != nil {
		if ctx.Err() == nil {
			s.note(err)
		}
		return
	}
	s.rejoin(ctx, seen)
}

// watch probes a store that is Up. What would keep a Down store Down takes it
// out, and timeouts of probes are counted on their own: where reads go on and
// writes hang, the requests that read would reset a common count for ever.
func (s *Switch) watch(ctx context.Context, seen word) {
	err := bounded(ctx, s.cfg.ProbeTimeout, s.cfg.Probe)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		s.missed = 0
	case s.cfg.Classify(err) == Timeout && s.missed+1 < timeoutsToTrip:
		s.missed++
	default:
		s.report(seen, Fault, err)
	}
}

// probeTwice probes a store that is Down, and again if it was slow: the first
// probe may have had to connect.
func (s *Switch) probeTwice(ctx context.Context) error {
	for range 2 {
		start := time.Now()
		if err := bounded(ctx, s.cfg.ProbeTimeout, s.cfg.Probe); err != nil {
			return err
		}
		if time.Since(start) <= s.cfg.Budget {
			return nil
		}
	}
	return errSlow
}

// rejoin runs the hooks and lets requests use the store again.
func (s *Switch) rejoin(ctx context.Context, seen word) {
	if !s.change(seen, Rejoining, nil) {
		return // not possible: only Run leaves Down
	}
	s.tell()
	seen = seen.next(Rejoining)
	s.mu.Lock()
	hooks := s.hooks
	s.mu.Unlock()
	for _, h := range hooks {
		err := bounded(ctx, s.cfg.RejoinTimeout, h.rejoin)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.change(seen, Down, &RejoinError{Consumer: h.name, Err: err})
			return
		}
	}
	s.change(seen, Up, nil)
}

// note keeps the newest reason while Down.
func (s *Switch) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = err
}

func bounded(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// RejoinError is the reason for Down when a consumer could not rejoin.
type RejoinError struct {
	Consumer string
	Err      error
}

func (e *RejoinError) Error() string { return "rejoin of " + e.Consumer + ": " + e.Err.Error() }

// Unwrap returns the consumer's error.
func (e *RejoinError) Unwrap() error { return e.Err }
