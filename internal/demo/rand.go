package demo

// random is SplitMix64 (Steele, Lea and Flood 2014): a dozen lines that give
// the same row in any language, so that the Flask example has the same data.
type random struct{ state uint64 }

func (r *random) next() uint64 {
	r.state += 0x9E3779B97F4A7C15
	z := r.state
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// below is a number from 0 to n-1.
func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

func (r *random) pick(values []string) string { return values[r.below(len(values))] }
