package failover

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Ask calls the store through remote and reports whether the store answered. If the store is
// unavailable, fails or is late, the caller must decide locally in the same request. remote must
// heed its context, whose deadline is what is left of the request's budget (Budget), or of the
// Switch's own if ctx carries none. An error of remote that is an Answer, such as "not found", is
// returned as it is. If answered is false, err says why, provided that the store was asked at all.
// A nil Switch never answers.
//
// At most Config.InFlight calls ask the store at once. The others wait for their turn on their own
// budget; a call that gets no turn is not answered.
//
// An outcome is not counted for or against the store if the caller left or its own time ended, nor
// if the call timed out with less than half of the budget: then earlier calls were slow, and they
// were reported themselves. With less than a tenth left the store is not asked at all, since
// cutting off a call costs a connection.
//
// What the store did in an unanswered call is unknown: a charge may have been made in both places.
func Ask[T any](ctx context.Context, s *Switch, remote func(context.Context) (T, error)) (v T, answered bool, err error) {
	return ask(ctx, s, remote, s.report)
}

// Offer is Ask for requests that the store may well refuse, such as storing a response that it has
// no room for: no outcome counts against it.
func Offer[T any](ctx context.Context, s *Switch, remote func(context.Context) (T, error)) (v T, answered bool, err error) {
	return ask(ctx, s, remote, func(word, Kind, error) {})
}

func ask[T any](ctx context.Context, s *Switch, remote func(context.Context) (T, error), report func(word, Kind, error)) (v T, answered bool, err error) {
	if !s.Up() {
		return v, false, nil
	}
	whole, budget := s.cfg.Budget, budgetOf(ctx)
	if !s.enter(ctx, budget, whole-whole/10) {
		return v, false, nil
	}
	defer s.leave()
	seen := s.load() // the switch may have tripped while this call waited for its turn
	if seen.state() != Up {
		return v, false, nil
	}
	inTime, cancel := context.WithTimeout(ctx, whole-budget.Spent())
	defer cancel()
	// Contexts use real time only, so the budget is measured in real time too.
	start := time.Now()
	deadline, _ := inTime.Deadline()
	v, err = remote(inTime)
	budget.Spend(time.Since(start))

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
	// Check the state after the call, not before it: if the switch tripped meanwhile, the answer is
	// dropped, since other requests have already been answered from local state.
	late := seen.late(s.load())
	s.tally.count(kind, late)
	return v, kind == Answer && !late, err
}

// enter takes a turn to ask the store. It waits until the caller has spent the time most of its
// budget. Turns are given in order of arrival. Waiting costs a timer but no goroutine, unlike a
// context with a deadline, so the goroutines that a hanging store costs are bounded by the turns,
// not by the callers.
func (s *Switch) enter(ctx context.Context, budget *Budget, most time.Duration) bool {
	left := most - budget.Spent()
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
	budget.Spend(time.Since(start))
	return entered
}

func (s *Switch) leave() { <-s.turns }

// Budget counts the time that a request has spent waiting for stores, over all its calls. The zero
// value is an unspent budget.
type Budget struct{ spent atomic.Int64 } // nanoseconds

// Spend adds to it.
func (b *Budget) Spend(d time.Duration) { b.spent.Add(int64(d)) }

// Spent is the time that has been spent so far.
func (b *Budget) Spent() time.Duration { return time.Duration(b.spent.Load()) }

// BudgetKey is the context key of a *Budget: all calls under one context share it. Work that
// outlives its request, such as a refresh, takes its own budget.
type BudgetKey struct{}

// budgetOf returns that of ctx, or a new one.
func budgetOf(ctx context.Context) *Budget {
	if b, ok := ctx.Value(BudgetKey{}).(*Budget); ok {
		return b
	}
	return new(Budget)
}
