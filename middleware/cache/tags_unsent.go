package cache

import (
	"sync"
	"time"
)

const (
	// maxOrigins bounds the purges of one slot that are kept apart: one for each gateway that made
	// some.
	maxOrigins = 8
	// maxHeard bounds the purges remembered as heard. Hearing a forgotten one purges again, which
	// only costs refills.
	maxHeard = 1 << 17
	// clockSkew bounds how far the clocks of Redis servers and gateways differ.
	clockSkew = time.Second
)

// unsent are the purges that the shared store does not know: the newest of each slot and origin.
type unsent struct {
	mu  sync.Mutex
	of  map[uint16][]Purge // by slot; guarded by mu
	on  map[uint16]int     // how many are in progress, by slot; guarded by mu
	top map[uint16]uint64  // the highest generation given here, by slot in of or on; guarded by mu
	had map[madeBy]uint64  // the newest generation heard of; guarded by mu
}

type madeBy struct {
	slot   uint16
	origin string
}

// heard records a purge and reports whether it is new. A gateway gives each generation of a slot
// once.
func (u *unsent) heard(p Purge) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	by := madeBy{p.Slot, p.Origin}
	if p.Gen <= u.had[by] {
		return false
	}
	if u.had == nil || len(u.had) >= maxHeard {
		u.had = map[madeBy]uint64{}
	}
	u.had[by] = p.Gen
	return true
}

func (u *unsent) add(p Purge) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of == nil {
		u.of = map[uint16][]Purge{}
	}
	all := u.of[p.Slot]
	for i, had := range all {
		if had.Origin == p.Origin {
			all[i].Gen = max(had.Gen, p.Gen)
			return
		}
	}
	if len(all) == maxOrigins { // one entry stands for all further origins, and always counts
		p.Origin = ""
	}
	if len(all) <= maxOrigins {
		u.of[p.Slot] = append(all, p)
	}
}

// begin marks purges as in progress, until end.
func (u *unsent) begin(purges []Purge) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.beginLocked(purges)
}

func (u *unsent) beginLocked(purges []Purge) {
	if u.on == nil {
		u.on = map[uint16]int{}
	}
	for _, p := range purges {
		u.on[p.Slot]++
	}
}

func (u *unsent) end(purges []Purge) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range purges {
		if u.on[p.Slot]--; u.on[p.Slot] == 0 {
			delete(u.on, p.Slot)
			if len(u.of[p.Slot]) == 0 {
				delete(u.top, p.Slot)
			}
		}
	}
}

// gave records a generation that this gateway gave to a slot with purges.
func (u *unsent) gave(slot uint16, gen uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.top == nil {
		u.top = map[uint16]uint64{}
	}
	u.top[slot] = max(u.top[slot], gen)
}

// above is the highest generation of a slot that this gateway gave.
func (u *unsent) above(slot uint16) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.top[slot]
}

// has reports whether the generation of a slot here may be one that the shared store did not give.
func (u *unsent) has(slot uint16) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.of[slot]) > 0 || u.on[slot] > 0
}

// idle reports whether the shared store knows all purges.
func (u *unsent) idle() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.of) == 0 && len(u.on) == 0
}

func (u *unsent) len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.of)
}

// take removes all purges, and marks them as in progress.
func (u *unsent) take() (all []Purge) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, purges := range u.of {
		all = append(all, purges...)
	}
	u.of = nil
	u.beginLocked(all)
	return all
}

// made are this gateway's purges that the shared store accepted: the newest of each slot.
type made struct {
	mu sync.Mutex
	at map[uint16]madeAt // guarded by mu
}

type madeAt struct {
	gen  uint64
	when time.Time
}

func (m *made) note(purges []Purge, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		m.at = map[uint16]madeAt{}
	}
	for _, p := range purges {
		m.at[p.Slot] = madeAt{p.Gen, now}
	}
}

func (m *made) since(when time.Time) (all []Purge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for slot, at := range m.at {
		if !at.when.Before(when) {
			all = append(all, Purge{Mark: Mark{slot, at.gen}})
		}
	}
	return all
}
