package failover

import (
	"context"
	"errors"
	"time"
)

// maxBarrier caps the wait at Config.Barrier.
const maxBarrier = time.Second

// Run probes the store and leads it back until ctx is done. Call it once. After it returns, only
// requests that trip the Switch change its state.
func (s *Switch) Run(ctx context.Context) {
	s.step(ctx)
	close(s.probed)
	for s.wait(ctx) {
		s.step(ctx)
	}
}

// wait drains the backlogs until the next probe is due, and reports whether to go on. If the store
// trips meanwhile, the time of a Down store applies.
func (s *Switch) wait(ctx context.Context) bool {
	s.tell()
	s.drain(ctx)
	next := time.Now().Add(s.pause())
	drain := next
	for {
		s.tell()
		select {
		case <-time.After(time.Until(drain)):
			if !time.Now().Before(next) {
				return ctx.Err() == nil
			}
			s.drain(ctx)
			drain = next
		case <-s.woken:
			if soon := time.Now().Add(drainAfter); soon.Before(drain) {
				drain = soon
			}
		case <-s.tripped:
			next = time.Now().Add(s.pause())
			drain = next
		case <-ctx.Done():
			return false
		}
	}
}

// step probes once and rejoins if the store has come back.
func (s *Switch) step(ctx context.Context) {
	seen := s.load()
	if seen.state() == Up {
		s.watch(ctx, seen)
		return
	}
	s.missed = 0
	if s.holdLeft() > 0 && !s.othersRejoin(ctx) {
		return
	}
	s.tried = seen.generation()
	found, err := s.probeTwice(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.note(err)
		}
		return
	}
	s.rejoin(ctx, seen, found)
}

// othersRejoin reports whether to join gateways that have found the store back, although this one
// would still hold.
func (s *Switch) othersRejoin(ctx context.Context) bool {
	if s.cfg.Rejoining == nil {
		return false
	}
	others, err := bounded(ctx, s.cfg.ProbeTimeout, s.cfg.Rejoining)
	return err == nil && others
}

// watch probes a store that is Up. Every error that would keep a Down store Down trips it, and so
// does a loss. Timeouts of probes have their own count: if reads work and writes hang, reading
// requests would reset a shared count forever.
func (s *Switch) watch(ctx context.Context, seen word) {
	err := s.confirm(ctx)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		s.missed = 0
	case !errors.Is(err, ErrLost) && s.cfg.Classify(err) == Timeout && s.missed+1 < timeoutsToTrip:
		s.missed++
	default:
		s.report(seen, Fault, err)
	}
}

// probe probes the store once.
func (s *Switch) probe(ctx context.Context) (Epoch, error) {
	found, err := bounded(ctx, s.cfg.ProbeTimeout, s.cfg.Probe)
	if err != nil && ctx.Err() == nil {
		s.tally.probe.Add(1)
	}
	return found, err
}

// confirm probes and checks that the store still has its data.
func (s *Switch) confirm(ctx context.Context) error {
	found, err := s.probe(ctx)
	if err == nil {
		err = s.compare(found)
	}
	if err == nil {
		s.see(found)
	}
	return err
}

// compare judges what a probe found. It keeps the first verdict about a loss until the loss is
// repaired: the probe that found it has changed the epoch, so the next one may find nothing.
func (s *Switch) compare(found Epoch) error {
	loss := lost(s.last, found)
	if s.loss == nil {
		s.loss = loss
	}
	return s.loss
}

// probeTwice probes a store that is Down, and again if it was slow: the first probe may have had to
// connect.
func (s *Switch) probeTwice(ctx context.Context) (Epoch, error) {
	for range 2 {
		start := time.Now()
		found, err := s.probe(ctx)
		if err != nil || time.Since(start) <= s.cfg.Budget {
			return found, err
		}
	}
	return Epoch{}, errSlow
}

// rejoin replays to the store what it missed and lets requests use it again.
func (s *Switch) rejoin(ctx context.Context, seen word, found Epoch) {
	loss := s.compare(found)
	if !s.change(seen, Rejoining, loss) {
		return // cannot happen: only Run leaves Down
	}
	s.tell()
	err := s.prepare(ctx, found, loss)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.change(seen.next(Rejoining), Down, err)
	default:
		s.change(seen.next(Rejoining), Up, nil)
	}
}

// prepare does everything between a successful probe and Up.
//
//  1. A lost store gets a new epoch, which tells every gateway. The epoch counts as seen from here
//     on, even if a later step fails: every way to Up goes through the backlogs again.
//  2. The backlogs replay everything that is still valid.
//  3. Gateways that are ready at about the same time wait for each other, then send what came
//     meanwhile.
//  4. A last probe checks that the store has neither failed nor lost the replay since the first
//     one. Later changes are sent while Up.
func (s *Switch) prepare(ctx context.Context, found Epoch, loss error) error {
	if loss != nil && s.cfg.Renew != nil {
		var err error
		found, err = bounded(ctx, s.cfg.ProbeTimeout, func(ctx context.Context) (Epoch, error) { return s.cfg.Renew(ctx, s.last) })
		if err != nil {
			return err
		}
	}
	s.see(found)
	for _, b := range s.backlogs {
		b.Replay()
	}
	if err := s.empty(ctx); err != nil {
		return err
	}
	s.await(ctx)
	if err := s.empty(ctx); err != nil {
		return err
	}
	return s.confirm(ctx)
}

// await waits for the other gateways, but not if the barrier fails: it is better to come back
// apart from the others than not at all.
func (s *Switch) await(ctx context.Context) {
	if s.cfg.Barrier == nil {
		return
	}
	left, err := bounded(ctx, s.cfg.ProbeTimeout, s.cfg.Barrier)
	if err != nil || left <= 0 {
		return
	}
	timer := time.NewTimer(min(left, maxBarrier))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// see stores the epoch just seen; any loss counts as repaired.
func (s *Switch) see(found Epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.loss = found, nil
}

// note keeps the newest reason while Down.
func (s *Switch) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = err
}

func bounded[T any](ctx context.Context, d time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}
