package gcra

import "time"

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

// usable counts the leased slots that have not begun.
func (b *Bucket) usable(now int64) int {
	left := b.lease - max(b.from, now)
	if left <= 0 {
		return 0
	}
	return int(left / int64(b.quota.Interval()))
}
