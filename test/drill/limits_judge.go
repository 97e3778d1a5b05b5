package drill

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy"
)

// admission is a request that the upstream got. It was admitted between the two.
// Times in the past are since the upstream's start.
type admission struct{ sent, arrived time.Duration }

// event is a fault that was played.
type event struct {
	outage
	name     string
	from, to time.Duration // when what it does to limits may be seen
}

// away is how long Redis did not answer; 0: it forgot without failing, so that it
// was trusted until a probe found out.
func (e event) away() time.Duration { return e.whole.Sub(e.outage.from) }

// String tells a person what was played and how the gateways took it.
func (e event) String() string {
	away := ""
	if e.away() > 0 {
		away = fmt.Sprintf(" for %.1fs", e.away().Seconds())
	}
	return fmt.Sprintf("%6.1fs  %s%s, in use by all %.1fs later, the last %s after the first",
		e.from.Seconds(), e.name, away, e.returned.Seconds(), e.apart.Round(time.Millisecond))
}

// limitsTogether is how long gateways that return together may take from the first
// one's settlement to the last one's use of Redis.
const limitsTogether = time.Second

// beyond is how many tokens a fault may add to what n gateways admit in a window
// that it falls into, by docs/rate-limits.md: greedy clients see to it that all
// know how the bucket stood. What stands there as a second is the time that it
// took.
func (e event) beyond(q gcra.Quota, n int) float64 {
	burst := float64(q.Burst)
	extra := float64(2*n) + perSecond(q)*e.unsettled.Seconds()
	if e.unsettled > limitsTogether {
		extra = burst + min(burst, perSecond(q)*(e.away()+e.returned).Seconds())
	}
	if e.away() == 0 {
		extra += burst
	}
	return extra
}

// perSecond is the rate in tokens a second.
func perSecond(q gcra.Quota) float64 { return 1 / q.Interval().Seconds() }

// window is a time.
type window struct{ from, to time.Duration }

// windows is what the admissions of a client were, held against one limit: the
// window, of any length, in which most was admitted beyond B + rW, and the one in
// which most was admitted beyond the bound.
type windows struct {
	Worst, Broke      window
	Admitted          int     // in Worst
	Normal, Bound     float64 // B + rW there, and with what faults may add
	Overshoot, Broken float64 // tokens beyond B + rW in Worst, and beyond the bound in Broke; below 0: less
}

// admits is B + rW, the most that one bucket admits in a window.
func admits(q gcra.Quota, w window) float64 {
	return float64(q.Burst) + perSecond(q)*(w.to-w.from).Seconds()
}

// bound is the most that n gateways may admit in a window. Whatever becomes of
// Redis, none admits more than the limit says by itself.
func bound(q gcra.Quota, n int, faults []event, w window) float64 {
	most := admits(q, w)
	alone := float64(n) * most
	for _, e := range faults {
		if e.from <= w.to && e.to >= w.from {
			most += e.beyond(q, n)
		}
	}
	return min(most, alone)
}

// look holds the admissions, in order of arrival, against a limit of n gateways.
// Only those count in a window that were both sent and admitted within it, so that
// nothing is blamed on the limit that happened on the way.
func look(q gcra.Quota, n int, admissions []admission, faults []event) windows {
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
			over := float64(count) - admits(q, in)
			if over > w.Overshoot {
				w.Worst, w.Admitted, w.Overshoot = in, count, over
			}
			if over <= w.Broken {
				continue // faults make no bound lower
			}
			if broken := float64(count) - bound(q, n, faults, in); broken > w.Broken {
				w.Broke, w.Broken = in, broken
			}
		}
	}
	w.Normal, w.Bound = admits(q, w.Worst), bound(q, n, faults, w.Worst)
	return w
}

// row judges what one client got of one limit of its route, in a drill of a length.
func (c *limitsClient) row(l *policy.Limit, w windows, length time.Duration) LimitsRow {
	least := perSecond(l.Quota) * length.Seconds() / 2 // a limiter that refuses all would pass everything else
	return LimitsRow{
		Client: c.kind(), Route: c.route.Pattern, Limit: l.Name, Sent: c.sent, Admitted: c.admitted, Refused: c.refused, Failed: c.failed,
		Window: inMS(w.Worst.to - w.Worst.from), Worst: w.Admitted, Normal: w.Normal, Bound: w.Bound,
		Overshoot: max(w.Overshoot, 0) / float64(l.Quota.Burst),
		Problems: problems(
			when(w.Broken > 0.01, // Redis counts in microseconds
				"%.1f tokens beyond the bound from %.2fs to %.2fs", w.Broken, w.Broke.from.Seconds(), w.Broke.to.Seconds()),
			when(c.failed > 0, "%d requests failed, the first: %s", c.failed, c.first),
			when(!c.greedy && c.refused > 0, "%d requests within the limit were refused", c.refused),
			when(c.greedy && l == c.tightest() && float64(c.admitted) < least,
				"only %d of at least %.0f requests were admitted", c.admitted, least),
		),
	}
}
