// Package gcra is the arithmetic of rate limits: the generic cell rate
// algorithm (ITU-T I.371) on one number, the theoretical arrival time. It has no
// state and no clock, and agrees with redis_rate's script, so that a limit
// means the same in Redis and in memory.
package gcra

import "time"

// Quota is a limit: Rate tokens come back every Period, and up to Burst may be
// taken at once. All three are positive.
type Quota struct {
	Rate   int
	Period time.Duration
	Burst  int
}

// Interval is the time in which one token comes back.
func (q Quota) Interval() time.Duration { return q.Period / time.Duration(q.Rate) }

// Share is the quota that each of n gateways may give out on its own so that
// together they give out q: a rate of r/n and a burst of max(1, B/n).
func (q Quota) Share(n int) Quota {
	if n <= 1 {
		return q
	}
	return Quota{Rate: q.Rate, Period: q.Period * time.Duration(n), Burst: max(1, q.Burst/n)}
}

// Result is the outcome of one charge.
type Result struct {
	Allowed    bool
	Remaining  int           // tokens left after the charge; 0 if it was refused
	RetryAfter time.Duration // until the same charge would be admitted; 0 if it was
	ResetAfter time.Duration // until the quota is whole again
}

// Take charges n tokens, or gives -n back, at time now against a bucket whose
// theoretical arrival time is tat; both are nanoseconds since the Unix epoch, and
// tat 0 is a bucket never used. It returns the bucket's new time, which is tat if
// the charge was refused: a refusal costs nothing.
func (q Quota) Take(tat, now int64, n int) (int64, Result) {
	interval := int64(q.Interval())
	tat = max(tat, now)
	next := tat + interval*int64(n)
	spare := now - (next - interval*int64(q.Burst))
	if spare < 0 {
		return tat, Result{RetryAfter: time.Duration(-spare), ResetAfter: time.Duration(tat - now)}
	}
	return next, Result{Allowed: true, Remaining: int(spare / interval), ResetAfter: time.Duration(next - now)}
}
