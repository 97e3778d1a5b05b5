// Package gcra is the arithmetic of rate limits: the generic cell rate algorithm (ITU-T I.371) on
// one number, the theoretical arrival time (TAT). It has no state and no clock. It agrees with
// redis_rate's script, so a limit means the same in Redis and in memory.
//
// Every admitted token owns a slot on a bucket's time line. A slot is one Interval long and ends at
// the TAT set by its charge. No two slots overlap, and a slot ends at most Burst intervals after
// its token was charged: so in any span W at most Burst + Rate·W tokens are admitted.
// docs/how-it-works/limits.md builds on this.
package gcra

import "time"

// Quota is a limit: a burst of up to Burst tokens, then Rate tokens every Period. All three are
// positive.
type Quota struct {
	Rate   int
	Period time.Duration
	Burst  int
}

// Interval is the time in which one token comes back.
func (q Quota) Interval() time.Duration { return q.Period / time.Duration(q.Rate) }

// Whole is the time in which an empty bucket fills.
func (q Quota) Whole() time.Duration { return q.Interval() * time.Duration(q.Burst) }

// Result is the outcome of one charge.
type Result struct {
	Allowed    bool
	Remaining  int           // tokens left, after the charge if it was made
	Extra      int           // tokens taken beyond the charge, to spend later: a lease
	RetryAfter time.Duration // until the same charge would be admitted; 0 if it was
	ResetAfter time.Duration // until the quota is whole again
}

// Take charges n tokens at time now to a bucket with the theoretical arrival time tat. Both are
// nanoseconds on one time line; tat 0 is a bucket never used. It returns the bucket's new TAT,
// which is tat after a refusal: a refusal costs nothing. A tat further ahead than an empty
// bucket's, as after a clock was set back, counts as an empty bucket's.
func (q Quota) Take(tat, now int64, n int) (int64, Result) {
	interval, whole := int64(q.Interval()), int64(q.Whole())
	tat = min(max(tat, now), now+whole)
	next := tat + interval*int64(n)
	spare := now + whole - next
	if spare < 0 {
		return tat, Result{
			Remaining:  int((now + whole - tat) / interval),
			RetryAfter: time.Duration(-spare), ResetAfter: time.Duration(tat - now),
		}
	}
	return next, Result{Allowed: true, Remaining: int(spare / interval), ResetAfter: time.Duration(next - now)}
}
