package gcra

import "time"

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

// excess is what was admitted alone and has not come back, of this gateway's
// share.
func (b *Bucket) excess(now int64) int64 { return max(b.share-max(b.seen, now), 0) }

// owed is what of the excess the store does not know.
func (b *Bucket) owed(now int64) int64 {
	return min(b.excess(now), times(max(b.alone-b.brought, 0), int(b.n)))
}

// exceed makes the excess another one.
func (b *Bucket) exceed(excess, now int64) { b.share = max(b.seen, now) + excess }
