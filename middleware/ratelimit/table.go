package ratelimit

import (
	"hash/maphash"
	"math/bits"
	"sync"

	"github.com/jewgo/gateway/internal/gcra"
)

const (
	// tableShards is how many locks a large table has: so many that processors
	// seldom meet, so few that all fit into the nearest cache.
	tableShards = 64
	// shardKeys is the least that a shard is made for. Keys fall into shards by
	// chance, and one of fewer would be full long before its neighbours.
	shardKeys = 1024
)

// Table keeps rate-limit buckets in memory, at most a given number of them. A
// bucket that is full again knows nothing and is dropped first; dropping one
// that is not hands budget back, and is counted. Memory is taken as keys come,
// and reused.
type Table struct {
	low, high maphash.Seed
	shards    []tableShard // a power of two
}

// NewTable returns a table of at most so many keys; since they are spread by
// chance over its shards, the first live one may be dropped when nine tenths
// are there. A full table costs 160 bytes a key beside the key's own string,
// which is kept as it is: with keys of 120 bytes, 290.
func NewTable(keys int) *Table {
	n := 1
	for n < tableShards && 2*n*shardKeys <= keys {
		n *= 2
	}
	l := &Table{low: maphash.MakeSeed(), high: maphash.MakeSeed(), shards: make([]tableShard, n)}
	for i := range l.shards {
		l.shards[i].most = max(1, keys/n)
	}
	return l
}

// Lock returns the bucket of key, a new one if there is none, alone for the
// caller until he unlocks: the pointer is worth nothing afterwards. Times are
// nanoseconds on the line of the buckets; now tells which of them are full. Who
// holds one bucket must not lock another.
func (l *Table) Lock(key string, now int64) (*gcra.Bucket, sync.Locker) {
	id, s := l.find(key)
	s.mu.Lock()
	i, known := s.find(id)
	if !known {
		i = s.addLocked(id, key, now)
	}
	return &s.slots[i].bucket, &s.mu
}

// Peek calls f with the bucket of key, locked meanwhile, or returns false if
// there is none. f must not lock another one.
func (l *Table) Peek(key string, f func(b *gcra.Bucket)) bool {
	id, s := l.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, known := s.find(id)
	if known {
		f(&s.slots[i].bucket)
	}
	return known
}

// Forget drops the bucket of key: its quota is whole, as far as this gateway
// knows.
func (l *Table) Forget(key string) {
	id, s := l.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, known := s.find(id); known {
		s.removeLocked(i)
	}
}

// All calls f for every bucket, locked meanwhile; f must not lock another one.
// What comes and goes during the call is seen or not.
func (l *Table) All(f func(key string, b *gcra.Bucket)) {
	for i := range l.shards {
		l.shards[i].all(f)
	}
}

// Len is the number of buckets kept.
func (l *Table) Len() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += s.used
		s.mu.Unlock()
	}
	return n
}

// Evicted counts the buckets that were dropped before they were full again.
func (l *Table) Evicted() int64 {
	n := int64(0)
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += s.evicted
		s.mu.Unlock()
	}
	return n
}

// find identifies key, and returns the shard that it belongs to.
func (l *Table) find(key string) (limitID, *tableShard) {
	id := limitID{maphash.String(l.low, key) | 1, maphash.String(l.high, key)}
	return id, &l.shards[id.low>>1&uint64(len(l.shards)-1)]
}

// evictionSample is how many buckets a full shard looks at for one to drop. They
// lie in the order of their hashes, so that neighbours are a fair sample.
const evictionSample = 16

// limitID stands for a key. Its 127 bits are of two seeds that nobody knows: no
// two keys share one, by any chance or effort, and so the keys themselves, far
// away in memory, need not be compared. The zero limitID is no key's.
type limitID struct{ low, high uint64 }

// tableShard is an open-addressing table with linear probing. In a table that is
// larger than the caches, time is what is waited for memory; here a lookup waits
// once, for a slot and its neighbours, where a map has it wait for one place
// after the other to learn the next.
type tableShard struct {
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
func (s *tableShard) find(id limitID) (int, bool) {
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
func (s *tableShard) home(id limitID) int {
	place, _ := bits.Mul64(id.high, uint64(len(s.slots)))
	return int(place)
}

func (s *tableShard) after(i int) int {
	if i++; i < len(s.slots) {
		return i
	}
	return 0
}

// addLocked gives id, which is not there, a new bucket.
func (s *tableShard) addLocked(id limitID, key string, now int64) int {
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
func (s *tableShard) growLocked() {
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
func (s *tableShard) evictLocked(now int64) {
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
func (s *tableShard) removeLocked(gap int) {
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
func (s *tableShard) all(f func(key string, b *gcra.Bucket)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.slots {
		if s.slots[i].id != (limitID{}) {
			f(s.keys[i], &s.slots[i].bucket)
		}
	}
}
