package failover

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Ask asks the store through remote and reports whether it answered; where it is
// away, fails or is late, the caller decides locally in the same request. remote's
// time is bounded by what is left of the request's budget (Budget), else by the
// Switch's own; remote must heed its context. An error of remote that is an Answer,
// such as "not found", is returned as it is; with answered false, err says why, if
// the store was asked at all. A nil Switch never answers.
//
// No more than Config.InFlight calls ask the store at once. The others wait for
// their turn, which is part of their budget; one that gets none is not answered.
//
// An outcome is no word about the store if the caller left or its own time
// ended, nor if the call timed out with less than half of the budget: that
// says that the calls before it were slow, and they were reported themselves.
// With less than a tenth left the store is not asked at all, since a call that
// is cut off costs a connection.
//
// What the store did in a call that was not answered is unknown: a charge may have
// been made in both places.
func Ask[T any](ctx context.Context, s *Switch, remote func(context.Context) (T, error)) (v T, answered bool, err error) {
	return ask(ctx, s, remote, s.report)
}

// Offer is Ask for what the store may as well refuse, such as a response that it
// has no room for: no outcome counts against it.
func Offer[T any](ctx context.Context, s *Switch, remote func(context.Context) (T, error)) (v T, answered bool, err error) {
	return ask(ctx, s, remote, func(word, Kind, error) {})
}

func ask[T any](ctx context.Context, s *Switch, remote func(context.Context) (T, error), report func(word, Kind, error)) (v T, answered bool, err error) {
	if !s.Up() {
		return v, false, nil
	}
	whole, spent := s.cfg.Budget, spentBudget(ctx)
	if !s.enter(ctx, spent, whole-whole/10) {
		return v, false, nil
	}
	defer s.leave()
	seen := s.load() // the store may have been given up while others had their turn
	if seen.state() != Up {
		return v, false, nil
	}
	inTime, cancel := context.WithTimeout(ctx, whole-time.Duration(spent.Load()))
	defer cancel()
	// Contexts know real time alone, so the budget is measured in it too.
	start := time.Now()
	deadline, _ := inTime.Deadline()
	v, err = remote(inTime)
	spent.Add(int64(time.Since(start)))

	kind := Answer
	if err != nil {
		kind = s.cfg.Classify(err)
	}
	switch {
	case kind != Answer && ctx.Err() != nil, errors.Is(err, context.Canceled):
		return v, false, err
	case kind == Timeout && deadline.Sub(start) < whole/2:
		return v, false, err
	}
	report(seen, kind, err)
	// The state is looked at after the call, not before it: an answer that was
	// on its way while the store was given up is dropped, since others have
	// already been answered from local state.
	late := seen.late(s.load())
	s.tally.count(kind, late)
	return v, kind == Answer && !late, err
}

// enter takes a turn to ask the store, and waits for one until the caller has
// spent so much of its budget. Turns are given in the order of arrival. Whoever
// waits costs a timer and no goroutine, unlike a context that ends: so those that
// come of a store that hangs are bounded by the turns, not by the callers.
func (s *Switch) enter(ctx context.Context, spent *atomic.Int64, most time.Duration) bool {
	left := most - time.Duration(spent.Load())
	if left < 0 {
		return false
	}
	select {
	case s.turns <- struct{}{}:
		return true
	default:
	}
	start := time.Now()
	timer := time.NewTimer(left)
	defer timer.Stop()
	entered := false
	select {
	case s.turns <- struct{}{}:
		entered = true
	case <-timer.C:
		s.tally.crowded.Add(1)
	case <-ctx.Done():
	}
	spent.Add(int64(time.Since(start)))
	return entered
}

func (s *Switch) leave() { <-s.turns }

// Budget is what a request has spent of the time that it may wait for stores, in
// all. The zero value is whole.
type Budget struct{ spent atomic.Int64 } // nanoseconds

// BudgetKey is what a context is asked for its *Budget with: all calls under
// one share it. Work that outlives its request, such as a refresh, takes a budget
// of its own.
type BudgetKey struct{}

// spentBudget counts the nanoseconds of the budget that are gone.
func spentBudget(ctx context.Context) *atomic.Int64 {
	if b, ok := ctx.Value(BudgetKey{}).(*Budget); ok {
		return &b.spent
	}
	return new(atomic.Int64)
}
