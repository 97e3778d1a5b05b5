package redis

import "sync"

// Responses are not written into a Redis that is fuller than stopShare, until it is
// emptier than resumeShare.
const stopShare, resumeShare = 0.8, 0.7

// nearShare is what is left until stopShare where the next response that does not
// fit stops writes.
const nearShare = 0.04

// Guard keeps responses from filling a Redis that has a use for the rest of its
// memory. A Redis for responses alone that evicts is never full. The zero value
// lets all pass; it is for many goroutines.
type Guard struct {
	Shared bool  // limits or sessions live there too
	Bound  int64 // bytes of each node without maxmemory; 0: none

	mu    sync.Mutex
	known bool    // a node has a bound; guarded by mu
	full  bool    // guarded by mu
	share float64 // used of the fullest node, at the last look; guarded by mu
	room  int64   // bytes that may be written until the next look; guarded by mu
	near  bool    // room is all that is left until stopShare; guarded by mu
}

// Look takes note of what the servers say. Of one that does not tell its memory
// nothing is known.
func (g *Guard) Look(info Info) {
	known, near, share, room := false, false, 0.0, int64(0)
	for _, s := range info.Servers {
		m := s.Memory
		if m == nil {
			continue
		}
		bound, evicts := m.MaxBytes, m.Policy != "" && m.Policy != "noeviction"
		if bound == 0 {
			bound = g.Bound
		} else if evicts && !g.Shared {
			continue
		}
		if bound == 0 {
			continue
		}
		left := int64(stopShare*float64(bound)) - m.UsedBytes
		if !known || left < 2*room {
			near = float64(left) <= nearShare*float64(bound)
			room = left / 2 // other gateways write too
		}
		known, share = true, max(share, float64(m.UsedBytes)/float64(bound))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known, g.near, g.share, g.room = known, near, share, room
	g.full = known && (share >= stopShare || g.full && share >= resumeShare)
}

// Take reports whether so many bytes may be written, and counts them until the next
// look.
func (g *Guard) Take(bytes int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.known {
		return true
	}
	fits := int64(bytes) <= g.room
	g.full = g.full || g.near && !fits
	if g.full || !fits {
		return false
	}
	g.room -= int64(bytes)
	return true
}

// Full reports whether writes have stopped, and the share of the fullest node's
// memory that is used.
func (g *Guard) Full() (share float64, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.share, g.full
}
