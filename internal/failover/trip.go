package failover

// word packs what the hot path must know into one atomic load: generation<<4 |
// timeouts in a row<<2 | state. A report of an earlier generation fails its
// compare-and-swap, and so cannot count against the store as it is now.
type word uint64

func (w word) state() State       { return State(w & 3) }
func (w word) timeouts() int      { return int(w>>2) & 3 }
func (w word) generation() uint64 { return uint64(w >> 4) }

// next is the word after a change of state.
func (w word) next(to State) word { return word(w.generation()+1)<<4 | word(to) }

// with is the word with another count of timeouts.
func (w word) with(timeouts int) word { return w&^(3<<2) | word(timeouts)<<2 }

// Kind is what an error says about the store.
type Kind int

// The kinds of errors.
const (
	Answer    Kind = iota // it is the consumer's answer, such as "not found": the store works
	Rejection             // the store works but did not do this: a value of a wrong type, a script's error
	Timeout               // it may be slow: three in a row are a fault
	Fault                 // it cannot serve: refused, read-only, full, loading, ...
)

// timeoutsToTrip is how many timeouts in a row take the store out: one may be a
// slow command, three are not.
const timeoutsToTrip = 3

// trips is the rule by which a store is given up, after a call of that kind that
// makes so many timeouts in a row.
func trips(kind Kind, timeouts int) bool { return kind == Fault || timeouts >= timeoutsToTrip }

// late reports whether the store has been given up, or has come back, between
// the word and now: what was asked then is no word about the store as it is now.
func (w word) late(now word) bool { return now.generation() != w.generation() }

// report takes note of what a call, begun while the word was seen, says about
// the store. It loops only while other reports interfere.
func (s *Switch) report(seen word, kind Kind, err error) {
	for {
		now := s.load()
		if seen.late(now) {
			return
		}
		timeouts := 0
		if kind == Timeout {
			timeouts = min(now.timeouts()+1, timeoutsToTrip)
		}
		if !trips(kind, timeouts) {
			if timeouts == now.timeouts() || s.word.CompareAndSwap(uint64(now), uint64(now.with(timeouts))) {
				return
			}
		} else if s.change(now, Down, err) {
			select {
			case s.tripped <- struct{}{}:
			default:
			}
			return
		}
	}
}
