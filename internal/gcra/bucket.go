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

// Release takes back a charge that was made before. It reports whether that is
// all: it was this gateway's share that was charged, not the shared store.
func (b *Bucket) Release(now int64, cost int) bool {
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

// prepay adds to the lease, where a charge of cost and extra made the store's TAT
// until. A token needs an Interval of the time line that lies after its request,
// in one piece or not. So what was left of the lease, which may be half a slot,
// and the new slots count as one piece, of which the cost was the beginning, that
// ends no later than either would: unless more is lost by that than by keeping
// one of them.
func (b *Bucket) prepay(cost, extra, until, now int64) {
	left, joined := b.lease-max(b.from, now), b.lease+cost+extra
	switch {
	case left > 0 && until-joined <= left:
		until = min(until, joined)
		b.from, b.lease = until-left-extra, until
	case extra > 0:
		b.from, b.lease = until-extra, until
	}
}

// Refused takes in that the shared store refused a charge of cost, because of
// this bucket or, if r is Allowed, of another one in the same request.
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

// excess is what was admitted alone and has not come back, of this gateway's
// share.
func (b *Bucket) excess(now int64) int64 { return max(b.share-max(b.seen, now), 0) }

// owed is what of the excess the store does not know.
func (b *Bucket) owed(now int64) int64 {
	return min(b.excess(now), times(max(b.alone-b.brought, 0), int(b.n)))
}

// exceed makes the excess another one.
func (b *Bucket) exceed(excess, now int64) { b.share = max(b.seen, now) + excess }

// Alone decides without the shared store, for a charge that Admit let pass: of n
// gateways that are thought to share the quota each gives out its part, by
// counting every token n times, from where the store was last seen. A cost
// above the part, which is whole at least once, waits for a whole one.
func (b *Bucket) Alone(q Quota, now int64, cost, n int) Result {
	b.adopt(q, now, cost)
	step := times(b.intervals(cost), n)
	whole := max(int64(q.Whole()), step)
	if excess := b.excess(now); excess > 0 && int32(n) != b.n {
		// What was admitted stays, what it stands for changes, as far as it could
		// have been admitted by this n.
		b.exceed(min(times(excess/int64(b.n), n), whole), now)
	}
	b.n = int32(n)
	r := Result{ResetAfter: time.Duration(b.share - now)} // not before now: see adopt
	if early := b.share + step - whole - now; early > 0 {
		r.RetryAfter = time.Duration(early)
		return r
	}
	b.share += step
	b.alone += b.intervals(cost)
	r.Allowed = true
	r.Remaining = int((now + whole - b.share) / times(int64(q.Interval()), n))
	r.ResetAfter = time.Duration(b.share - now)
	return r
}

// UndoAlone takes back what Alone admitted.
func (b *Bucket) UndoAlone(cost int) {
	b.share -= times(b.intervals(cost), int(b.n))
	b.alone -= b.intervals(cost)
}

// Debt is what a bucket must bring to the shared store when that is back.
type Debt struct {
	Quota   Quota
	AtLeast time.Duration // how far ahead of the store's clock its TAT is, as far as is known here
	Add     time.Duration // what was admitted alone beyond that, and has not come back yet
	Unseen  bool          // the store has not been seen to be as far
	alone   int64         // Bucket.alone when this was told: what Settled has brought then
}

// Debt tells what to bring now. No bucket that others use too is less far ahead
// than what was admitted here makes it: so the store may be lifted to that, less
// what is added.
func (b *Bucket) Debt(now int64) Debt {
	d := Debt{Quota: b.quota, alone: b.alone}
	if owed := b.owed(now); owed > 0 {
		d.Add = time.Duration(owed / int64(b.n))
	}
	seen, own := max(b.seen, now), b.own-int64(d.Add)
	d.AtLeast = time.Duration(max(seen, own) - now)
	d.Unseen = d.Add > 0 || own > seen
	return d
}

// Settled takes in that the store has d, and that its quota is whole after that
// time. What was admitted alone meanwhile remains to be brought. The share stays
// where it is until the store is asked again: it stands for what the others may
// not have brought yet.
func (b *Bucket) Settled(d Debt, now int64, resetAfter time.Duration) {
	if b.unused() {
		return
	}
	b.brought = min(d.alone, b.alone)
	owed := b.owed(now)
	b.seen = max(b.seen, now+int64(resetAfter))
	b.share = max(b.share, max(b.seen, now)+owed)
}

// Lease is what is leased and unspent.
type Lease struct {
	Quota  Quota
	Tokens int
	Ends   time.Duration // from now to the end of the last slot
}

// GiveUp ends the lease and returns what was left of it.
func (b *Bucket) GiveUp(now int64) Lease {
	l := Lease{Quota: b.quota, Tokens: b.usable(now), Ends: time.Duration(b.lease - now)}
	b.from, b.lease = 0, 0
	return l
}

// AskLease reports whether the bucket is worth a lease: it was used so recently
// that the last token has not come back. LeaseAsked must follow the answer: until
// then no other is asked for, since of leases side by side some would be spent by
// nobody while their requests are refused.
func (b *Bucket) AskLease(now int64) bool {
	if b.leasing || b.seen <= now {
		return false
	}
	b.leasing = true
	return true
}

// LeaseAsked ends an AskLease, whatever came of it.
func (b *Bucket) LeaseAsked() { b.leasing = false }

// FullAt is when the bucket knows nothing any more that a new one does not.
func (b *Bucket) FullAt() int64 { return max(b.own, b.seen, b.share, b.lease) }

// Level is how the bucket of a quota stands, as far as is known here; nothing is
// charged.
func (b *Bucket) Level(q Quota, now int64) Result {
	_, r := q.Take(max(b.own, b.seen), now, 0)
	r.Remaining += b.usable(now)
	return r
}

// Known is what a bucket holds, for people. Times are from now.
type Known struct {
	Quota     Quota
	Own       time.Duration // until what was admitted here has come back
	Seen      time.Duration // until what the shared store told of has
	Alone     time.Duration // of what was admitted without it and it does not know: its part of the time line
	Refused   time.Duration // until the smallest charge is asked about again; 0: it is
	Leased    int           // tokens prepaid and unspent
	LeaseEnds time.Duration
}

// Known tells what the bucket holds.
func (b *Bucket) Known(now int64) Known {
	ahead := func(t int64) time.Duration { return time.Duration(max(t-now, 0)) }
	k := Known{Quota: b.quota, Own: ahead(b.own), Seen: ahead(b.seen), Alone: b.Debt(now).Add, Leased: b.usable(now)}
	if k.Leased > 0 {
		k.LeaseEnds = ahead(b.lease)
	}
	if b.refused != 0 {
		k.Refused = max(b.quota.refusal(b.refused, now, 1).RetryAfter, 0)
	}
	return k
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

// usable counts the leased slots that have not begun.
func (b *Bucket) usable(now int64) int {
	left := b.lease - max(b.from, now)
	if left <= 0 {
		return 0
	}
	return int(left / int64(b.quota.Interval()))
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
