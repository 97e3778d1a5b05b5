package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
)

// slots is the size of the table of generations. It is fixed, so that tags cost no memory and a
// purge needs no search. Tags that share a slot are purged together, which only costs a refill.
const slots = 1 << 16

// Mark is the generation of one tag's slot at a moment.
type Mark struct {
	Slot uint16
	Gen  uint64
}

// slotOf is the slot of a tag, the same on every gateway.
func slotOf(tag string) uint16 {
	sum := sha256.Sum256([]byte(tag))
	return binary.BigEndian.Uint16(sum[:])
}

// softTag is the tag that a soft purge of a tag purges: entries of the tag become stale and stay
// usable. Every entry has a mark for it in Soft.
func softTag(tag string) string { return "~" + tag }

// generations counts the purges of each slot. A counter never goes back.
type generations struct {
	changes atomic.Uint64 // grows before any slot does
	slots   [slots]atomic.Uint64
}

func (g *generations) get(slot uint16) uint64 { return g.slots[slot].Load() }

// bump purges a slot and returns its new generation, which is above base too.
func (g *generations) bump(slot uint16, base uint64) uint64 {
	g.changes.Add(1)
	for {
		known := g.slots[slot].Load()
		next := max(known, base) + 1
		if g.slots[slot].CompareAndSwap(known, next) {
			return next
		}
	}
}

// raise raises a slot to a generation known elsewhere.
func (g *generations) raise(slot uint16, gen uint64) {
	for {
		known := g.slots[slot].Load()
		if gen <= known {
			return
		}
		g.changes.Add(1)
		if g.slots[slot].CompareAndSwap(known, gen) {
			return
		}
	}
}
