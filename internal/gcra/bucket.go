package gcra

import "time"

// Bucket is what one gateway keeps for one key beside the shared store, which decides while it is
// available. All times are nanoseconds by a clock of the gateway's own that never jumps. The zero
// Bucket was never used. It takes no lock; its owner does.
type Bucket struct {
	quota   Quota // last used
	own     int64 // TAT of what was admitted here, against the whole quota
	undone  int64 // time of all tokens that Undo took back
	seen    int64 // highest TAT that the shared store has reported
	share   int64 // TAT of this gateway's share: the part beyond seen was admitted alone
	alone   int64 // time of all tokens ever admitted alone, each counted once
	brought int64 // the part of alone that the store knows
	refused int64 // TAT by which the shared store refused; 0: it admits
	from    int64 // start of the leased and unspent time, or now if that is later
	lease   int64 // its end
	n       int32 // number of gateways by which share was counted
	leasing bool  // a lease is being asked for
}

// Step is a gateway's own decision about a charge.
type Step struct {
	Kind   Kind
	took   int64 // length of its slots
	own    int64 // end of its slots in own
	undone int64 // Bucket.undone before it
	from   int64 // if Spent: start of its slots
	lease  int64 // if Spent: end of the lease that they belong to
}

// Kind is the kind of a Step.
type Kind int

// The kinds of steps.
const (
	Refuse Kind = iota // refused by what is known here; nothing was charged
	Ask                // the shared store must decide; charged here meanwhile
	Spent              // admitted with tokens leased before
)

// Admit decides as far as possible without the shared store. It refuses charges for which this
// gateway alone has used up the quota, whatever happened to the store, and charges that the store
// refused, until their time has come.
func (b *Bucket) Admit(q Quota, now int64, cost int) (Step, Result) {
	b.adopt(q, now, cost)
	next, r := q.Take(b.own, now, cost)
	if !r.Allowed {
		return Step{}, r
	}
	s := Step{Kind: Ask, took: b.intervals(cost), own: next, undone: b.undone}
	if from := max(b.from, now); b.lease-from >= s.took {
		s.Kind, s.from, s.lease = Spent, from, b.lease
		b.own, b.from = next, from+s.took
		_, level := q.Take(b.seen, now, 0)
		return s, Result{Allowed: true, Remaining: level.Remaining + b.usable(now), ResetAfter: level.ResetAfter}
	}
	if known := q.refusal(b.refused, now, cost); b.refused != 0 && known.RetryAfter > 0 {
		return Step{}, known
	}
	b.own = next
	return s, r
}

// Undo takes back a step other than Refuse, because another limit or the shared store refused the
// request. Later requests move up into its slots, but never to a time before they came. So neither
// what has come back since is given back, nor what may already have moved when other steps were
// undone.
func (b *Bucket) Undo(s Step, now int64) {
	moved := b.undone - s.undone
	b.own -= min(max(s.own-moved-now, 0), s.took)
	if s.Kind == Spent && s.lease == b.lease && moved == 0 && (s.from >= now || s.from+s.took == b.from) {
		b.from -= s.took
	}
	b.undone += s.took
}

// Refund takes back an earlier charge. It reports whether that is all: the charge was made to this
// gateway's share and not to the shared store.
func (b *Bucket) Refund(now int64, cost int) bool {
	b.own -= b.intervals(cost)
	if b.owed(now) > 0 {
		b.UndoAlone(cost)
		return true
	}
	return false
}

// Granted records that the shared store admitted a charge of cost, and its state r after that. The
// question was sent at sent and the answer came at now. A lease is measured from sent, which is not
// later than the store's own time; an outage starts from r at now, which is not earlier.
func (b *Bucket) Granted(r Result, cost int, sent, now int64) {
	if b.unused() {
		return
	}
	b.refused = 0
	b.told(r, now)
	b.prepay(b.intervals(cost), b.intervals(r.Extra), sent+int64(r.ResetAfter), now)
}

// Refused records that the shared store refused a charge, because of this bucket or, if r is
// Allowed, because of another one of the same request.
func (b *Bucket) Refused(r Result, now int64) {
	if b.unused() {
		return
	}
	b.told(r, now)
	if !r.Allowed {
		b.refused = now + int64(r.ResetAfter)
	}
}

// unused reports whether the bucket was never used. A reply of the shared store then belongs to an
// earlier bucket that was dropped: it may date from before a reset, and there is no quota to keep
// it by.
func (b *Bucket) unused() bool { return b.quota.Rate == 0 }

// told records how far ahead the store's TAT is; that includes all that the store knows of this
// gateway. What it does not know stays beyond that.
func (b *Bucket) told(r Result, now int64) {
	owed := b.owed(now)
	b.seen = max(b.seen, now+int64(r.ResetAfter))
	b.exceed(owed, now)
}

// FullAt is when the bucket no longer differs from a new one.
func (b *Bucket) FullAt() int64 { return max(b.own, b.seen, b.share, b.lease) }

// Level returns the state of the bucket with a quota, as far as is known here, without a charge.
func (b *Bucket) Level(q Quota, now int64) Result {
	_, r := q.Take(max(b.own, b.seen), now, 0)
	r.Remaining += b.usable(now)
	return r
}

// State is a bucket's content, for display. Times are from now.
type State struct {
	Quota     Quota
	Own       time.Duration // until what was admitted here has come back
	Seen      time.Duration // until what the shared store reported has come back
	Alone     time.Duration // time of what was admitted alone and the store does not know
	Refused   time.Duration // until the smallest charge is asked about again; 0: it is asked about
	Leased    int           // tokens prepaid and unspent
	LeaseEnds time.Duration
}

// State returns the bucket's content.
func (b *Bucket) State(now int64) State {
	ahead := func(t int64) time.Duration { return time.Duration(max(t-now, 0)) }
	s := State{Quota: b.quota, Own: ahead(b.own), Seen: ahead(b.seen), Alone: b.Debt(now).Add, Leased: b.usable(now)}
	if s.Leased > 0 {
		s.LeaseEnds = ahead(b.lease)
	}
	if b.refused != 0 {
		s.Refused = max(b.quota.refusal(b.refused, now, 1).RetryAfter, 0)
	}
	return s
}

// adopt makes q the quota and pulls in times further ahead than q allows for a charge of cost: the
// policy has changed, or the clock was set back.
func (b *Bucket) adopt(q Quota, now int64, cost int) {
	whole := int64(q.Whole())
	most := times(whole, int(b.n)) // bound of the excess: no cost exceeds a whole bucket
	if q != b.quota {
		b.quota, b.lease = q, 0 // the store may have pulled in the leased slots without telling
		most = max(whole, times(b.intervals(cost), int(b.n)))
	}
	excess, ahead := b.excess(now), now+whole
	b.own, b.seen, b.refused, b.lease = min(b.own, ahead), min(b.seen, ahead), min(b.refused, ahead), min(b.lease, ahead)
	b.exceed(min(excess, most), now)
}

// intervals is the time of n tokens; 0 in a bucket that was dropped meanwhile.
func (b *Bucket) intervals(n int) int64 {
	if b.unused() {
		return 0
	}
	return int64(b.quota.Interval()) * int64(n)
}

// refusal is the result for a refused charge of n against tat; its RetryAfter is 0 or less if the
// charge would be admitted.
func (q Quota) refusal(tat, now int64, n int) Result {
	next := max(tat, now) + int64(q.Interval())*int64(n)
	return Result{
		RetryAfter: time.Duration(next - int64(q.Whole()) - now), ResetAfter: time.Duration(max(tat-now, 0)),
		Remaining: int(max(now+int64(q.Whole())-max(tat, now), 0) / int64(q.Interval())),
	}
}

// farthest caps times, at about 73 years.
const farthest = 1 << 61

// times is d·n, at most farthest.
func times(d int64, n int) int64 {
	if n > 0 && d > farthest/int64(n) {
		return farthest
	}
	return d * int64(n)
}
