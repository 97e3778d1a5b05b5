package redis

import "sync"

// Responses are no longer written once a Redis is fuller than stopShare, until it is emptier than
// resumeShare.
const stopShare, resumeShare = 0.8, 0.7

// nearShare: if less than this share is left until stopShare, the next response that does not fit
// stops writes.
const nearShare = 0.04

// Guard keeps responses from filling a Redis whose memory is also needed for other data. A Redis
// that holds only responses and evicts is never full. The zero value lets everything pass. A Guard
// is safe for concurrent use.
type Guard struct {
	Shared bool  // limits or sessions are stored there too
	Bound  int64 // assumed bytes of each node without maxmemory; 0: none

	mu    sync.Mutex
	known bool    // a node has a bound; guarded by mu
	full  bool    // guarded by mu
	share float64 // used share of the fullest node, at the last Look; guarded by mu
	room  int64   // bytes that may be written until the next Look; guarded by mu
	near  bool    // stopShare is near, so a response that does not fit stops writes; guarded by mu
}

// Look records the servers' memory. A server that does not report its memory is ignored.
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

// Take reports whether a response of this size may be written, and counts its bytes until the next
// Look.
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

// Full reports whether writes have stopped, and the used share of the fullest node's memory.
func (g *Guard) Full() (share float64, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.share, g.full
}
