package failover

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Do asks the store through remote and, where the store is away, fails or is
// late, gives the local answer within the same call. remote's time is bounded
// by what is left of the request's budget (WithBudget), else by the Switch's
// own; remote must heed its context. An error of remote that is an Answer,
// such as "not found", is returned as it is. A nil Switch is always local.
//
// An outcome is no word about the store if the caller left or its own time
// ended, nor if the call timed out with less than half of the budget: that
// says that the calls before it were slow, and they were reported themselves.
// With less than a tenth left the store is not asked at all, since a call that
// is cut off costs a connection.
//
// What the store did in a call that was answered locally is unknown: a charge
// may have been made in both places.
func Do[T any](ctx context.Context, s *Switch, remote func(context.Context) (T, error), local func() (T, error)) (T, error) {
	if s == nil {
		return local()
	}
	seen := s.load()
	if seen.state() != Up {
		return local()
	}
	whole, spent := s.cfg.Budget, spentBudget(ctx)
	left := whole - time.Duration(spent.Load())
	if left < whole/10 {
		return local()
	}
	inTime, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	// Contexts know real time alone, so the budget is measured in it too.
	start := time.Now()
	deadline, _ := inTime.Deadline()
	v, err := remote(inTime)
	spent.Add(int64(time.Since(start)))

	kind := Answer
	if err != nil {
		kind = s.cfg.Classify(err)
	}
	switch {
	case kind != Answer && ctx.Err() != nil, errors.Is(err, context.Canceled):
		return local()
	case kind == Timeout && deadline.Sub(start) < whole/2:
		return local()
	}
	s.report(seen, kind, err)
	// The state is looked at after the call, not before it: an answer that was
	// on its way while the store was given up is dropped, since others have
	// already been answered from local state.
	late := seen.late(s.load())
	s.tally.count(kind, late)
	if kind != Answer || late {
		return local()
	}
	return v, err
}

type budgetKey struct{}

// WithBudget lets all calls of Do under the context share one budget. Work that
// outlives its request, such as a refresh, takes a budget of its own.
func WithBudget(ctx context.Context) context.Context {
	return context.WithValue(ctx, budgetKey{}, new(atomic.Int64))
}

// spentBudget counts the nanoseconds of the budget that are gone.
func spentBudget(ctx context.Context) *atomic.Int64 {
	if b, ok := ctx.Value(budgetKey{}).(*atomic.Int64); ok {
		return b
	}
	return new(atomic.Int64)
}
