package gcra

import "time"

// Alone decides without the shared store about a charge that Admit let pass. Each of the n gateways
// that are thought to share the quota gives out its part, by counting every token n times, from the
// store's last known state. A cost above the part waits until the part is whole.
func (b *Bucket) Alone(q Quota, now int64, cost, n int) Result {
	b.adopt(q, now, cost)
	step := times(b.intervals(cost), n)
	whole := max(int64(q.Whole()), step)
	if excess := b.excess(now); excess > 0 && int32(n) != b.n {
		// Keep what was admitted but count it by the new n, up to what that n could have admitted.
		b.exceed(min(times(excess/int64(b.n), n), whole), now)
	}
	b.n = int32(n)
	r := Result{ResetAfter: time.Duration(b.share - now)} // not negative: see adopt
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

// Debt is what a bucket must settle with the shared store once that is available again.
type Debt struct {
	Quota   Quota
	AtLeast time.Duration // how far ahead of the store's clock its TAT is at least, as known here
	Add     time.Duration // what was admitted alone beyond that, and has not come back yet
	Unseen  bool          // the store is not known to be that far ahead
	alone   int64         // Bucket.alone at that time, which Settled records as brought
}

// Debt returns what to settle now. A bucket that others use too is at least as far ahead as the
// charges admitted here make it: so the store may be raised to that, minus Add.
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

// Settled records that the store has applied d, and that its quota is whole after resetAfter. What
// was admitted alone meanwhile remains to be settled. The share stays unchanged until the store is
// asked again: it stands for what other gateways may not have settled yet.
func (b *Bucket) Settled(d Debt, now int64, resetAfter time.Duration) {
	if b.unused() {
		return
	}
	b.brought = min(d.alone, b.alone)
	owed := b.owed(now)
	b.seen = max(b.seen, now+int64(resetAfter))
	b.share = max(b.share, max(b.seen, now)+owed)
}

// excess is the part of this gateway's share that was admitted alone and has not come back.
func (b *Bucket) excess(now int64) int64 { return max(b.share-max(b.seen, now), 0) }

// owed is the part of the excess that the store does not know.
func (b *Bucket) owed(now int64) int64 {
	return min(b.excess(now), times(max(b.alone-b.brought, 0), int(b.n)))
}

// exceed sets the excess.
func (b *Bucket) exceed(excess, now int64) { b.share = max(b.seen, now) + excess }
