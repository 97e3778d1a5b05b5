package gcra

import "time"

// Lease is the unspent rest of a lease.
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

// AskLease returns how many tokens to ask for, so that at most most are leased. It is 0 unless the
// bucket was used so recently that the last token has not come back, and while another lease is
// being asked for: of concurrent leases some would stay unspent while requests are refused. If it
// is not 0, the caller must then call LeaseAsked.
func (b *Bucket) AskLease(now int64, most int) int {
	more := most - b.usable(now)
	if b.leasing || b.seen <= now || more <= 0 {
		return 0
	}
	b.leasing = true
	return more
}

// LeaseAsked ends an AskLease, whatever its outcome.
func (b *Bucket) LeaseAsked() { b.leasing = false }

// prepay extends the lease after a charge of cost and extra raised the store's TAT to until. A
// token needs one Interval of the time line after its request, in one piece or not. So the rest of
// the lease, which may be half a slot, and the new slots count as one piece that began with the
// cost and ends no later than either, unless that loses more than keeping only one of them.
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
