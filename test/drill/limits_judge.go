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

// admission is a request that the upstream got; it was admitted between sent and arrived. Times are
// since the upstream's start.
type admission struct{ sent, arrived time.Duration }

// event is a fault that was played.
type event struct {
	outage
	name     string
	from, to time.Duration // when it may affect limits
}

// away is how long Redis was unavailable. 0: it lost data without failing, so the gateways trusted it
// until a probe noticed.
func (e event) away() time.Duration { return e.whole.Sub(e.outage.from) }

// String describes the fault and how the gateways handled it.
func (e event) String() string {
	away := ""
	if e.away() > 0 {
		away = fmt.Sprintf(" for %.1fs", e.away().Seconds())
	}
	return fmt.Sprintf("%6.1fs  %s%s, in use by all %.1fs later, the last %s after the first",
		e.from.Seconds(), e.name, away, e.returned.Seconds(), e.apart.Round(time.Millisecond))
}

// limitsTogether is the longest time from the first gateway's settlement to the last one's use of Redis
// in which they count as returning together.
const limitsTogether = time.Second

// beyond is how many tokens a fault may add to the admissions of n gateways in a window that overlaps
// it, by docs/how-it-works/limits.md. Greedy clients make sure that all gateways know the bucket's level. In
// place of the one second assumed there, it uses the measured time.
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

// perSecond is the rate in tokens per second.
func perSecond(q gcra.Quota) float64 { return 1 / q.Interval().Seconds() }

// window is a span of time.
type window struct{ from, to time.Duration }

// windows compares the admissions of a client with one limit: Worst is the window, of any length, with
// the most tokens beyond B + rW, Broke the one with the most beyond the bound.
type windows struct {
	Worst, Broke      window
	Admitted          int     // in Worst
	Normal, Bound     float64 // B + rW in Worst, without and with what faults may add
	Overshoot, Broken float64 // tokens beyond B + rW in Worst, and beyond the bound in Broke; negative: fewer
}

// admits is B + rW, the most that one bucket admits in a window.
func admits(q gcra.Quota, w window) float64 {
	return float64(q.Burst) + perSecond(q)*(w.to-w.from).Seconds()
}

// bound is the most that n gateways may admit in a window. Whatever happens to Redis, each single
// gateway keeps to the limit.
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

// look compares the admissions, in order of arrival, with a limit of n gateways. A window only counts
// those that were both sent and received within it, so that delays on the way are not blamed on the
// limit.
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
				continue // faults never lower the bound
			}
			if broken := float64(count) - bound(q, n, faults, in); broken > w.Broken {
				w.Broke, w.Broken = in, broken
			}
		}
	}
	w.Normal, w.Bound = admits(q, w.Worst), bound(q, n, faults, w.Worst)
	return w
}

// row judges one client by one limit of its route, in a drill of that length.
func (c *limitsClient) row(l *policy.Limit, w windows, length time.Duration) LimitsRow {
	least := perSecond(l.Quota) * length.Seconds() / 2 // a limiter that refuses everything must fail too
	return LimitsRow{
		Client: c.kind(), Route: c.route.Pattern, Limit: l.Name, Sent: c.sent, Admitted: c.admitted, Refused: c.refused, Failed: c.failed,
		Window: inMS(w.Worst.to - w.Worst.from), Worst: w.Admitted, Normal: w.Normal, Bound: w.Bound,
		Overshoot: max(w.Overshoot, 0) / float64(l.Quota.Burst),
		Problems: problems(
			when(w.Broken > 0.01, // tolerance: Redis counts in microseconds
				"%.1f tokens beyond the bound from %.2fs to %.2fs", w.Broken, w.Broke.from.Seconds(), w.Broke.to.Seconds()),
			when(c.failed > 0, "%d requests failed, the first: %s", c.failed, c.first),
			when(!c.greedy && c.refused > 0, "%d requests within the limit were refused", c.refused),
			when(c.greedy && l == c.tightest() && float64(c.admitted) < least,
				"only %d of at least %.0f requests were admitted", c.admitted, least),
		),
	}
}
