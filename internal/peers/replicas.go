package peers

import (
	"sync"
	"time"
)

// replicasHold is how long a fleet is believed to be as large as it was seen. Believing in too many
// gateways only makes shares too small; believing in too few breaks the bound.
const replicasHold = 10 * time.Minute

// mostReplicas is the largest fleet that is believed: the maximum of redis.replicas.
const mostReplicas = 10_000

// Replicas is how many gateways are believed to share the limits: the most that were seen at once
// within replicasHold. Without new sightings, as while the shared store is unavailable, the belief
// stays. The zero value believes in one gateway.
type Replicas struct {
	mu    sync.Mutex
	past  int       // most seen in the half of replicasHold before this one; guarded by mu
	most  int       // most seen since began; guarded by mu
	began time.Time // of this half; guarded by mu
}

// Believe raises the belief to at least n, from an earlier belief or from hearsay; it never lowers
// it. It reports whether the belief has changed.
func (r *Replicas) Believe(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.countLocked()
	r.most = max(r.most, n)
	return r.countLocked() != before
}

// See records that n gateways live, including this one. It reports whether the belief has changed.
func (r *Replicas) See(n int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.countLocked()
	switch {
	case r.began.IsZero():
		r.began = now
	case now.Sub(r.began) >= replicasHold/2:
		r.past, r.most, r.began = r.most, 0, now
	}
	r.most = max(r.most, n)
	return r.countLocked() != before
}

// Count is the number of gateways believed in, at least 1.
func (r *Replicas) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.countLocked()
}

func (r *Replicas) countLocked() int { return min(max(1, r.past, r.most), mostReplicas) }
