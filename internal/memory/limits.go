package memory

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

const (
	limitShards = 64
	// evictionSample is how many buckets a full shard looks at for one to drop.
	// Go's maps iterate from a random place, so a few are a fair sample.
	evictionSample = 8
)

// Limits keeps rate-limit buckets in memory, at most a given number of them. A
// bucket that has filled up again says nothing and is dropped first; dropping
// one that has not hands budget back, and is counted.
type Limits struct {
	now     func() time.Time
	seed    maphash.Seed
	perFull int // buckets a shard may hold
	evicted atomic.Int64
	shards  [limitShards]limitShard
}

type limitShard struct {
	mu      sync.Mutex
	buckets map[string]int64 // theoretical arrival times, guarded by mu
}

var _ ratelimit.Store = (*Limits)(nil)

// NewLimits returns a store of at most size buckets, about 150 bytes each.
func NewLimits(size int, now func() time.Time) *Limits {
	l := &Limits{now: now, seed: maphash.MakeSeed(), perFull: max(1, size/limitShards)}
	for i := range l.shards {
		l.shards[i].buckets = map[string]int64{}
	}
	return l
}

// Take charges the buckets in order; it never fails.
func (l *Limits) Take(_ context.Context, charges []ratelimit.Charge) ([]gcra.Result, error) {
	now := l.now().UnixNano()
	results := make([]gcra.Result, 0, len(charges))
	for _, c := range charges {
		r := l.take(c, now)
		results = append(results, r)
		if !r.Allowed {
			break
		}
	}
	return results, nil
}

func (l *Limits) take(c ratelimit.Charge, now int64) gcra.Result {
	s := &l.shards[maphash.String(l.seed, c.Key)%limitShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	tat, known := s.buckets[c.Key]
	next, result := c.Quota.Take(tat, now, c.Cost)
	if !result.Allowed {
		return result
	}
	if !known && len(s.buckets) >= l.perFull {
		l.evictLocked(s, now)
	}
	s.buckets[c.Key] = next
	return result
}

// evictLocked drops every full bucket of a sample, or the one nearest to full.
func (l *Limits) evictLocked(s *limitShard, now int64) {
	var victim string
	soonest, seen, dropped := int64(0), 0, false
	for k, tat := range s.buckets {
		if tat <= now {
			delete(s.buckets, k)
			dropped = true
		} else if victim == "" || tat < soonest {
			victim, soonest = k, tat
		}
		if seen++; seen == evictionSample {
			break
		}
	}
	if !dropped {
		delete(s.buckets, victim)
		l.evicted.Add(1)
	}
}

// Len is the number of buckets kept.
func (l *Limits) Len() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.buckets)
		s.mu.Unlock()
	}
	return n
}

// Evicted counts the buckets that were dropped before they were full again.
func (l *Limits) Evicted() int64 { return l.evicted.Load() }
