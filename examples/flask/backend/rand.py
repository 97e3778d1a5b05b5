"""A small generator of pseudo-random numbers that gives the same row in any language."""

MASK = (1 << 64) - 1


class Rand:
    """SplitMix64 (Steele, Lea and Flood 2014)."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        """A number from 0 to n-1."""
        return self.next() % n

    def pick(self, values):
        return values[self.below(len(values))]
