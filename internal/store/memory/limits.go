package memory

import (
	"hash/maphash"
	"sync"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

const (
	// limitShards is how many locks a large table has: so many that processors
	// seldom meet, so few that all fit into the nearest cache.
	limitShards = 64
	// shardKeys is the least that a shard is made for. Keys fall into shards by
	// chance, and one of fewer would be full long before its neighbours.
	shardKeys = 1024
)

// Limits keeps rate-limit buckets in memory, at most a given number of them. A
// bucket that is full again knows nothing and is dropped first; dropping one
// that is not hands budget back, and is counted. Memory is taken as keys come,
// and reused.
type Limits struct {
	low, high maphash.Seed
	shards    []limitShard // a power of two
}

var _ ratelimit.Local = (*Limits)(nil)

// NewLimits returns a table of at most so many keys; since they are spread by
// chance over its shards, the first live one may be dropped when nine tenths
// are there. A full table costs 160 bytes a key beside the key's own string,
// which is kept as it is: with keys of 120 bytes, 290.
func NewLimits(keys int) *Limits {
	n := 1
	for n < limitShards && 2*n*shardKeys <= keys {
		n *= 2
	}
	l := &Limits{low: maphash.MakeSeed(), high: maphash.MakeSeed(), shards: make([]limitShard, n)}
	for i := range l.shards {
		l.shards[i].most = max(1, keys/n)
	}
	return l
}

// Lock returns the bucket of key, a new one if there is none, alone for the
// caller until he unlocks: the pointer is worth nothing afterwards. Times are
// nanoseconds on the line of the buckets; now tells which of them are full. Who
// holds one bucket must not lock another.
func (l *Limits) Lock(key string, now int64) (*gcra.Bucket, sync.Locker) {
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
func (l *Limits) Peek(key string, f func(b *gcra.Bucket)) bool {
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
func (l *Limits) Forget(key string) {
	id, s := l.find(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, known := s.find(id); known {
		s.removeLocked(i)
	}
}

// All calls f for every bucket, locked meanwhile; f must not lock another one.
// What comes and goes during the call is seen or not.
func (l *Limits) All(f func(key string, b *gcra.Bucket)) {
	for i := range l.shards {
		l.shards[i].all(f)
	}
}

// Len is the number of buckets kept.
func (l *Limits) Len() int {
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
func (l *Limits) Evicted() int64 {
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
func (l *Limits) find(key string) (limitID, *limitShard) {
	id := limitID{maphash.String(l.low, key) | 1, maphash.String(l.high, key)}
	return id, &l.shards[id.low>>1&uint64(len(l.shards)-1)]
}
