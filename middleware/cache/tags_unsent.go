package cache

import "sync"

const (
	// maxOrigins bounds the purges of one slot that are told apart: one for each gateway
	// that made some.
	maxOrigins = 8
	// maxHeard bounds what is known to have been heard. What is heard again after that
	// purges once more, which costs refills and nothing else.
	maxHeard = 1 << 17
)

// unsent are the purges that the shared store does not know of: the newest of each
// slot and origin.
type unsent struct {
	mu  sync.Mutex
	of  map[uint16][]Purge // by slot; guarded by mu
	had map[madeBy]uint64  // the newest generations that were heard of; guarded by mu
}

type madeBy struct {
	slot   uint16
	origin string
}

// heard notes a purge, and reports whether it is news. A gateway gives each generation
// of a slot once.
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
	if len(all) < maxOrigins { // one brings all of a slot
		u.of[p.Slot] = append(all, p)
	}
}

func (u *unsent) has(slot uint16) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.of[slot]) > 0
}

func (u *unsent) empty() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.of) == 0
}

// take removes all.
func (u *unsent) take() (all []Purge) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, purges := range u.of {
		all = append(all, purges...)
	}
	u.of = nil
	return all
}
