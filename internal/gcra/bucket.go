package gcra

import "time"

// Bucket is what one gateway keeps of one key beside the shared store, which
// decides while it is there. All times are nanoseconds on a line of the
// gateway's own that does not jump. The zero Bucket was never used. It takes no
// lock: its owner does.
type Bucket struct {
	quota   Quota // last used
	own     int64 // TAT of what was admitted here, of the whole quota
	undone  int64 // time of all tokens that Undo took back
	seen    int64 // highest TAT that the shared store has told
	share   int64 // TAT of this gateway's share: beyond seen it is of what was admitted alone
	alone   int64 // time of all tokens ever admitted alone, each counted once
	brought int64 // what of that the store has been told
	refused int64 // TAT by which the shared store refused; 0: it admits
	from    int64 // what is leased and unspent of the time line begins here, or now if that is later,
	lease   int64 // and ends here
	n       int32 // gateways by which share was counted
	leasing bool  // a lease is asked for
}

// Step is what a gateway decides on its own about a charge.
type Step struct {
	Kind   Kind
	took   int64 // of the time line
	own    int64 // end of its slots in own
	undone int64 // before it
	from   int64 // of a Spent one: where its slots begin
	lease  int64 // and in which lease they are
}

// Kind is the kind of a Step.
type Kind int

// The kinds of steps.
const (
	Refuse Kind = iota // by what is known here; nothing was charged
	Ask                // the shared store must decide; charged here meanwhile
	Spent              // admitted by tokens that were leased before
)

// Admit decides what can be decided without the shared store. It refuses what
// this gateway alone has used up, whatever became of the store, and what that
// store refused until its time has come.
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

// Undo takes back a step that was not Refuse, since the request that it was made
// for was refused by another limit or by the shared store. Later requests move up
// into its slots, but to no time before they came: what has come back since, and
// what may have moved already as others were undone, is not given back.
func (b *Bucket) Undo(s Step, now int64) {
	moved := b.undone - s.undone
	b.own -= min(max(s.own-moved-now, 0), s.took)
	if s.Kind == Spent && s.lease == b.lease && moved == 0 && (s.from >= now || s.from+s.took == b.from) {
		b.from -= s.took
	}
	b.undone += s.took
}

// Refund takes back a charge that was made before. It reports whether that is
// all: it was this gateway's share that was charged, not the shared store.
func (b *Bucket) Refund(now int64, cost int) bool {
	b.own -= b.intervals(cost)
	if b.owed(now) > 0 {
		b.UndoAlone(cost)
		return true
	}
	return false
}

// Granted takes in that the shared store admitted a charge of cost, and how it
// stands after it; the question left at sent and the answer came at now. What the
// lease is measured from must not be later than the store's own time, and what
// an outage starts from not earlier.
func (b *Bucket) Granted(r Result, cost int, sent, now int64) {
	if b.unused() {
		return
	}
	b.refused = 0
	b.told(r, now)
	b.prepay(b.intervals(cost), b.intervals(r.Extra), sent+int64(r.ResetAfter), now)
}

// Refused takes in that the shared store refused a charge, because of this
// bucket or, if r is Allowed, of another one in the same request.
func (b *Bucket) Refused(r Result, now int64) {
	if b.unused() {
		return
	}
	b.told(r, now)
	if !r.Allowed {
		b.refused = now + int64(r.ResetAfter)
	}
}

// unused reports whether nothing was ever asked of the bucket. An answer of the
// shared store is then of another one, that was forgotten meanwhile: what it says
// may be of before a reset, and there is no quota to keep it by.
func (b *Bucket) unused() bool { return b.quota.Rate == 0 }

// told takes in how far the store's TAT is: all that it knows of this gateway is
// in there. What it does not know stays beyond that.
func (b *Bucket) told(r Result, now int64) {
	owed := b.owed(now)
	b.seen = max(b.seen, now+int64(r.ResetAfter))
	b.exceed(owed, now)
}

// FullAt is when the bucket knows nothing any more that a new one does not.
func (b *Bucket) FullAt() int64 { return max(b.own, b.seen, b.share, b.lease) }

// Level is how the bucket of a quota stands, as far as is known here; nothing is
// charged.
func (b *Bucket) Level(q Quota, now int64) Result {
	_, r := q.Take(max(b.own, b.seen), now, 0)
	r.Remaining += b.usable(now)
	return r
}

// State is what a bucket holds, for people. Times are from now.
type State struct {
	Quota     Quota
	Own       time.Duration // until what was admitted here has come back
	Seen      time.Duration // until what the shared store told of has
	Alone     time.Duration // of what was admitted without it and it does not know: its part of the time line
	Refused   time.Duration // until the smallest charge is asked about again; 0: it is
	Leased    int           // tokens prepaid and unspent
	LeaseEnds time.Duration
}

// State tells what the bucket holds.
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

// adopt makes q the quota, and draws in what lies further ahead than it allows
// to a charge of cost: the policy has changed, or the clock was set back.
func (b *Bucket) adopt(q Quota, now int64, cost int) {
	whole := int64(q.Whole())
	most := times(whole, int(b.n)) // of the excess: no cost is above a whole bucket
	if q != b.quota {
		b.quota, b.lease = q, 0 // the store may have drawn in what was leased, and not told
		most = max(whole, times(b.intervals(cost), int(b.n)))
	}
	excess, ahead := b.excess(now), now+whole
	b.own, b.seen, b.refused, b.lease = min(b.own, ahead), min(b.seen, ahead), min(b.refused, ahead), min(b.lease, ahead)
	b.exceed(min(excess, most), now)
}

// intervals is the time of n tokens, 0 in a bucket that was forgotten meanwhile.
func (b *Bucket) intervals(n int) int64 {
	if b.unused() {
		return 0
	}
	return int64(b.quota.Interval()) * int64(n)
}

// refusal is the answer to a charge of n against tat; its RetryAfter is 0 or
// less where that would be admitted.
func (q Quota) refusal(tat, now int64, n int) Result {
	next := max(tat, now) + int64(q.Interval())*int64(n)
	return Result{
		RetryAfter: time.Duration(next - int64(q.Whole()) - now), ResetAfter: time.Duration(max(tat-now, 0)),
		Remaining: int(max(now+int64(q.Whole())-max(tat, now), 0) / int64(q.Interval())),
	}
}

// farthest is about 73 years: time that far ahead is told from no other.
const farthest = 1 << 61

// times is d·n, at most farthest.
func times(d int64, n int) int64 {
	if n > 0 && d > farthest/int64(n) {
		return farthest
	}
	return d * int64(n)
}
