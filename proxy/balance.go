package proxy

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// pick chooses the target of a try; tried are the targets of earlier tries. Unhealthy targets are
// used only if there are no others, and tried ones only if nothing else is left.
func (p *pool) pick(client netip.Addr, tried []*target) *target {
	if len(p.targets) == 1 {
		return p.targets[0]
	}
	var room [8]*target // enough for most pools; larger ones allocate
	from := p.candidates(room[:0], tried)
	switch p.def.Balance {
	case "round_robin":
		return from[(p.turn.Add(1)-1)%uint64(len(from))]
	case "hash":
		return byHash(from, client)
	}
	return leastBusy(from)
}

// candidates appends the targets of which a try gets one. from is empty.
func (p *pool) candidates(from, tried []*target) []*target {
	for _, t := range p.targets {
		if !t.out.Load() {
			from = append(from, t)
		}
	}
	if len(from) == 0 {
		from = append(from, p.targets...)
	}
	if len(tried) > 0 {
		fresh := slices.DeleteFunc(slices.Clone(from), func(t *target) bool { return slices.Contains(tried, t) })
		if len(fresh) > 0 {
			from = fresh
		}
	}
	return from
}

// leastBusy is the power of two choices (Mitzenmacher, 2001): of two random targets it returns the
// one with fewer requests in flight.
func leastBusy(from []*target) *target {
	i := rand.IntN(len(from))
	if len(from) == 1 {
		return from[i]
	}
	j := rand.IntN(len(from) - 1)
	if j >= i {
		j++
	}
	if from[j].inFlight.Load() < from[i].inFlight.Load() {
		return from[j]
	}
	return from[i]
}

// byHash is rendezvous hashing (Thaler and Ravishankar, 1998): when a target is removed, only its own
// clients move. All gateways choose the same target.
func byHash(from []*target, client netip.Addr) *target {
	addr := client.As16()
	high, low := binary.BigEndian.Uint64(addr[:8]), binary.BigEndian.Uint64(addr[8:])
	best, most := from[0], uint64(0)
	for _, t := range from {
		if weight := mix(mix(t.seed^high) ^ low); weight >= most {
			best, most = t, weight
		}
	}
	return best
}

// mix spreads every bit of x over the result: the finalizer of splitmix64 (Steele, Lea and Flood,
// 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
