package ratelimit

import (
	"hash/maphash"
	"math/bits"
	"sync"

	"github.com/jewgo/gateway/internal/gcra"
)

const (
	// tableShards is how many locks a large table has: enough that processors seldom contend, few
	// enough that all fit into the L1 cache.
	tableShards = 64
	// shardKeys is the smallest capacity of a shard. Keys are spread by hash, so smaller shards
	// would fill up long before their neighbours.
	shardKeys = 1024
)

// Table keeps a bounded number of rate-limit buckets in memory. It drops full buckets first, since
// they hold no information. Dropping another one gives budget back, and is counted. Memory is
// allocated as keys come, and reused.
type Table struct {
	low, high maphash.Seed
	shards    []tableShard // a power of two
}

// NewTable returns a table for at most so many keys. Since hashes spread them unevenly over shards,
// the first live bucket may be dropped at nine tenths of that. A full table costs 160 bytes a key
// and the key's own string, which is kept: 290 bytes with keys of 120 bytes.
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

// Lock returns the bucket of key, a new one if there is none, locked. The pointer is invalid after
// Unlock. now, in nanoseconds on the buckets' clock, decides which buckets are full. The caller
// must not lock a second bucket meanwhile.
func (l *Table) Lock(key string, now int64) (*gcra.Bucket, sync.Locker) {
	id, s := l.find(key)
	s.mu.Lock()
	i, known := s.find(id)
	if !known {
		i = s.addLocked(id, key, now)
	}
	return &s.slots[i].bucket, &s.mu
}

// Peek calls f with the locked bucket of key, or returns false if there is none. f must not lock
// another bucket.
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

// Forget drops the bucket of key, which makes it full as far as this gateway knows.
func (l *Table) Forget(key string) {
	id, s := l.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, known := s.find(id); known {
		s.removeLocked(i)
	}
}

// All calls f for every bucket while it is locked; f must not lock another one. Buckets that are
// added or dropped during the call may be missed.
func (l *Table) All(f func(key string, b *gcra.Bucket)) {
	for i := range l.shards {
		l.shards[i].all(f)
	}
}

// Len is the number of buckets.
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

// Evicted counts the buckets that were dropped before they were full.
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

// find returns the ID of key, and its shard.
func (l *Table) find(key string) (limitID, *tableShard) {
	id := limitID{maphash.String(l.low, key) | 1, maphash.String(l.high, key)}
	return id, &l.shards[id.low>>1&uint64(len(l.shards)-1)]
}

// evictionSample is how many buckets a full shard compares to choose one to drop. They are ordered
// by hash, so neighbours are a random sample.
const evictionSample = 16

// limitID stands for a key. Its 127 bits come from two secret random seeds, so that no two keys can
// collide by chance or by design. Keys themselves, which lie elsewhere in memory, need not be
// compared. No key has the zero limitID.
type limitID struct{ low, high uint64 }

// tableShard is an open-addressing table with linear probing. In a table larger than the caches,
// time goes to waiting for memory. A lookup here waits once, for a slot and its neighbours; a map
// waits for several places, one after the other.
type tableShard struct {
	mu      sync.Mutex
	slots   []limitSlot // guarded by mu, as are all below
	keys    []string    // parallel to slots; apart, since only all reads them
	used    int
	most    int // capacity in keys
	hand    int // where the next eviction sample starts
	evicted int64
	_       [40]byte // keeps shards on separate cache lines
}

type limitSlot struct {
	id     limitID // zero: the slot is empty
	bucket gcra.Bucket
}

// find returns the slot of id, or false and the slot where it belongs.
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

// home is the slot where the search for id starts. Slots are in the order of their homes, so that
// growing copies the table from front to back.
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

// addLocked adds a new bucket for id, which must not exist.
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

// growLocked doubles the table, up to a size that is three quarters full with most keys.
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

// evictLocked drops all full buckets of a sample or, if none is full, the one that is full soonest.
func (s *tableShard) evictLocked(now int64) {
	before := s.used
	victim, soonest := -1, int64(0)
	for looked, places := 0, len(s.slots); looked < evictionSample && places > 0; places-- {
		if at := &s.slots[s.hand]; at.id != (limitID{}) {
			looked++
			full := at.bucket.FullAt()
			if full <= now {
				s.removeLocked(s.hand) // another bucket may have moved here
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

// removeLocked empties a slot, and moves up the entries behind it that a search would no longer
// reach.
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
