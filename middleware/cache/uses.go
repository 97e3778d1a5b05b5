package cache

import (
	"sync/atomic"
	"time"
)

// Uses counts how often an entry in memory answered; nil counts nothing.
type Uses struct {
	total  atomic.Uint64
	recent atomic.Uint64 // the minute of the last use, and the uses, halved each minute; 32 bits each
}

// halved returns the minute of now and the recent uses in it.
func (u *Uses) halved(now time.Time) (old, minute, n uint64) {
	old, minute = u.recent.Load(), uint64(now.Unix()/60)
	past := minute - min(old>>32, minute)
	return old, minute, old & (1<<32 - 1) >> min(past, 32)
}

func (u *Uses) add(now time.Time) {
	if u == nil {
		return
	}
	u.total.Add(1)
	for {
		old, minute, n := u.halved(now)
		if u.recent.CompareAndSwap(old, minute<<32|min(n+1, 1<<32-1)) {
			return
		}
	}
}

// counts returns all uses, and those of the present: each minute halves them.
func (u *Uses) counts(now time.Time) (total, recent uint64) {
	if u == nil {
		return 0, 0
	}
	_, _, recent = u.halved(now)
	return u.total.Load(), recent
}
