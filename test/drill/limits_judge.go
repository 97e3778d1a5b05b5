package drill

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/failover"
)

// maxAdmissions bounds what is remembered of one client.
const maxAdmissions = 1 << 17

// admission is a request that the upstream got. It was admitted between the two.
type admission struct{ sent, arrived time.Duration }

// admissionLog keeps admissions by client.
type admissionLog struct {
	mu sync.Mutex
	by map[string][]admission // guarded by mu
}

func (l *admissionLog) add(client string, a admission) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string][]admission{}
	}
	if len(l.by[client]) < maxAdmissions {
		l.by[client] = append(l.by[client], a)
	}
}

// of returns those of a client in the order in which they arrived.
func (l *admissionLog) of(client string) []admission {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(slices.Values(l.by[client]), func(a, b admission) int { return cmp.Compare(a.arrived, b.arrived) })
}

// playedFault is a fault that was played. Times in the past are since the
// Upstream's start.
type playedFault struct {
	fault     LimitsFault
	from, to  time.Duration // when what it does to limits may be seen
	outage    time.Duration // that Redis did not answer
	returned  time.Duration // from when Redis was whole to when the last gateway used it
	apart     time.Duration // from the first gateway that used it to the last
	unsettled time.Duration // that some used it while what others had admitted alone was not there
}

// measure reads from the gateways' histories how they came back from a fault that
// began, and after which Redis was whole, at these times. It reports whether all
// have.
func (p *playedFault) measure(all []failover.Status, began, whole time.Time) bool {
	var first, last, rejoining time.Time
	tripped := 0
	for _, s := range all {
		if s.State != failover.Up {
			return false
		}
		var up, down time.Time
		for _, c := range s.History {
			switch {
			case c.At.Before(began):
			case c.To == failover.Down && down.IsZero():
				down = c.At
			case c.To == failover.Rejoining && c.At.After(whole) && (rejoining.IsZero() || c.At.Before(rejoining)):
				rejoining = c.At
			case c.To == failover.Up && c.At.After(whole):
				up = c.At
			}
		}
		if up.IsZero() {
			if p.fault.Unnoticed || !down.IsZero() {
				return false
			}
			continue // it never gave Redis up
		}
		tripped++
		if first.IsZero() || up.Before(first) {
			first = up
		}
		if up.After(last) {
			last = up
		}
	}
	if tripped == 0 {
		return p.fault.End != nil
	}
	p.returned, p.apart, p.unsettled = last.Sub(whole), last.Sub(first), last.Sub(rejoining)
	if tripped < len(all) {
		p.unsettled = p.returned // the others used it all the time
	}
	p.unsettled += settleTime
	return true
}

// limitsTogether is how long gateways that return together may take from the first
// one's settlement to the last one's use of Redis.
const limitsTogether = time.Second

// beyond is how many tokens a fault may add to what n gateways admit in a window
// that it falls into, by docs/rate-limits.md: greedy clients see to it that all
// know how the bucket stood. What stands there as a second is the time that it
// took.
func (p *playedFault) beyond(l LimitsLimit, n int) float64 {
	burst := float64(l.Quota.Burst)
	extra := float64(2*n) + l.rate()*p.unsettled.Seconds()
	if p.unsettled > limitsTogether {
		extra = burst + min(burst, l.rate()*(p.outage+p.returned).Seconds())
	}
	if p.fault.Unnoticed {
		extra += burst
	}
	return extra
}

// rate is in tokens a second.
func (l LimitsLimit) rate() float64 { return 1 / l.Quota.Interval().Seconds() }

// windows is what the admissions of a client were, held against one limit: the
// window, of any length, in which most was admitted beyond B + rW, and the one in
// which most was admitted beyond the bound.
type windows struct {
	Worst, Broke      window
	Admitted          int     // in Worst
	Normal, Bound     float64 // B + rW there, and with what faults may add
	Overshoot, Broken float64 // tokens beyond B + rW in Worst, and beyond the bound in Broke; below 0: less
}

// window is a time, since the Upstream's start.
type window struct{ from, to time.Duration }

// admits is B + rW, the most that one bucket admits in a window.
func (l LimitsLimit) admits(w window) float64 {
	return float64(l.Quota.Burst) + l.rate()*(w.to-w.from).Seconds()
}

// bound is the most that n gateways may admit in a window. Whatever becomes of
// Redis, none admits more than the limit says by itself.
func bound(l LimitsLimit, n int, faults []playedFault, w window) float64 {
	most := l.admits(w)
	alone := float64(n) * most
	for i := range faults {
		if faults[i].from <= w.to && faults[i].to >= w.from {
			most += faults[i].beyond(l, n)
		}
	}
	return min(most, alone)
}

// look holds the admissions, in order of arrival, against a limit of n gateways.
// Only those count in a window that were both sent and admitted within it, so that
// nothing is blamed on the limit that happened on the way.
func look(l LimitsLimit, n int, admissions []admission, faults []playedFault) windows {
	w := windows{Overshoot: math.Inf(-1), Broken: math.Inf(-1)}
	for i := range admissions {
		from := admissions[i].sent
		first, _ := slices.BinarySearchFunc(admissions, from, func(a admission, t time.Duration) int { return cmp.Compare(a.arrived, t) })
		count := 0
		for _, a := range admissions[first:] {
			if a.sent < from {
				continue
			}
			count++
			in := window{from, a.arrived}
			over := float64(count) - l.admits(in)
			if over > w.Overshoot {
				w.Worst, w.Admitted, w.Overshoot = in, count, over
			}
			if over <= w.Broken {
				continue // faults make no bound lower
			}
			if broken := float64(count) - bound(l, n, faults, in); broken > w.Broken {
				w.Broke, w.Broken = in, broken
			}
		}
	}
	w.Normal, w.Bound = l.admits(w.Worst), bound(l, n, faults, w.Worst)
	return w
}
