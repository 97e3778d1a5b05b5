package failover

// word packs what the hot path needs into one atomic load: generation<<4 | timeouts in a row<<2 |
// state. A report from an earlier generation fails its compare-and-swap, so it cannot count against
// the store's present state.
type word uint64

func (w word) state() State       { return State(w & 3) }
func (w word) timeouts() int      { return int(w>>2) & 3 }
func (w word) generation() uint64 { return uint64(w >> 4) }

// next is the word after a change of state.
func (w word) next(to State) word { return word(w.generation()+1)<<4 | word(to) }

// with is the word with its count of timeouts replaced.
func (w word) with(timeouts int) word { return w&^(3<<2) | word(timeouts)<<2 }

// Kind is what an error says about the store.
type Kind int

// The kinds of errors.
const (
	Answer    Kind = iota // the consumer's answer, such as "not found": the store works
	Rejection             // the store works but refused this: a value of a wrong type, a script's error
	Timeout               // the store may be slow: three in a row are a fault
	Fault                 // the store cannot serve: refused, read-only, full, loading, ...
)

// timeoutsToTrip is how many timeouts in a row trip the switch: one may be a slow command, three
// are not.
const timeoutsToTrip = 3

// trips is the rule for giving up the store after an error of this kind, with this many timeouts in
// a row.
func trips(kind Kind, timeouts int) bool { return kind == Fault || timeouts >= timeoutsToTrip }

// late reports whether the state has changed between w and now. If so, a result from w's time says
// nothing about the store as it is now.
func (w word) late(now word) bool { return now.generation() != w.generation() }

// report records the outcome of a call that began at the word seen. It loops only while other
// reports interfere.
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
