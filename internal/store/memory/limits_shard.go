package memory

import (
	"math/bits"
	"sync"

	"github.com/jewgo/gateway/internal/gcra"
)

// evictionSample is how many buckets a full shard looks at for one to drop. They
// lie in the order of their hashes, so that neighbours are a fair sample.
const evictionSample = 16

// limitID stands for a key. Its 127 bits are of two seeds that nobody knows: no
// two keys share one, by any chance or effort, and so the keys themselves, far
// away in memory, need not be compared. The zero limitID is no key's.
type limitID struct{ low, high uint64 }

// limitShard is an open-addressing table with linear probing. In a table that is
// larger than the caches, time is what is waited for memory; here a lookup waits
// once, for a slot and its neighbours, where a map has it wait for one place
// after the other to learn the next.
type limitShard struct {
	mu      sync.Mutex
	slots   []limitSlot // guarded by mu, as are all below
	keys    []string    // of the slots, apart from them: only all reads them
	used    int
	most    int // keys that are kept
	hand    int // slot where the next sample starts
	evicted int64
	_       [40]byte // two shards never share a cache line
}

type limitSlot struct {
	id     limitID // zero: the slot is empty
	bucket gcra.Bucket
}

// find returns the slot of id, or false and the one where it belongs.
func (s *limitShard) find(id limitID) (int, bool) {
	if len(s.slots) == 0 {
		return 0, false
	}
	for i := s.home(id); ; i = s.after(i) {
		switch s.slots[i].id {
		case id:
			return i, true
		case limitID{}:
			return i, false
		}
	}
}

// home is the slot where the search for id starts. Slots lie in the order of
// their homes, so that a table which grows is copied from front to back.
func (s *limitShard) home(id limitID) int {
	place, _ := bits.Mul64(id.high, uint64(len(s.slots)))
	return int(place)
}

func (s *limitShard) after(i int) int {
	if i++; i < len(s.slots) {
		return i
	}
	return 0
}

// addLocked gives id, which is not there, a new bucket.
func (s *limitShard) addLocked(id limitID, key string, now int64) int {
	if s.used == s.most {
		s.evictLocked(now)
	}
	if s.used >= len(s.slots)/4*3 {
		s.growLocked()
	}
	i, _ := s.find(id)
	s.slots[i], s.keys[i] = limitSlot{id: id}, key
	s.used++
	return i
}

// growLocked doubles the table, as far as most keys fill three quarters of it.
func (s *limitShard) growLocked() {
	n := min(max(16, 2*len(s.slots)), s.most/3*4+4)
	if n <= len(s.slots) {
		return
	}
	slots, keys := s.slots, s.keys
	s.slots, s.keys, s.hand = make([]limitSlot, n), make([]string, n), 0
	for i := range slots {
		if slots[i].id != (limitID{}) {
			to, _ := s.find(slots[i].id)
			s.slots[to], s.keys[to] = slots[i], keys[i]
		}
	}
}

// evictLocked drops every full bucket of a sample, or the one nearest to full.
func (s *limitShard) evictLocked(now int64) {
	before := s.used
	victim, soonest := -1, int64(0)
	for looked, places := 0, len(s.slots); looked < evictionSample && places > 0; places-- {
		if at := &s.slots[s.hand]; at.id != (limitID{}) {
			looked++
			full := at.bucket.FullAt()
			if full <= now {
				s.removeLocked(s.hand) // and another one may be here now
				continue
			}
			if victim < 0 || full < soonest {
				victim, soonest = s.hand, full
			}
		}
		s.hand = s.after(s.hand)
	}
	if s.used == before {
		s.removeLocked(victim)
		s.evicted++
	}
}

// removeLocked empties a slot, and moves up those that would not be found any
// more beyond it.
func (s *limitShard) removeLocked(gap int) {
	n := len(s.slots)
	for i := s.after(gap); s.slots[i].id != (limitID{}); i = s.after(i) {
		if from := (i - s.home(s.slots[i].id) + n) % n; from >= (i-gap+n)%n {
			s.slots[gap], s.keys[gap] = s.slots[i], s.keys[i]
			gap = i
		}
	}
	s.slots[gap], s.keys[gap] = limitSlot{}, ""
	s.used--
}

// all calls f for every bucket.
func (s *limitShard) all(f func(key string, b *gcra.Bucket)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.slots {
		if s.slots[i].id != (limitID{}) {
			f(s.keys[i], &s.slots[i].bucket)
		}
	}
}
