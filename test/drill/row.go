package drill

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/failover"
)

const (
	// slower is how much the percentiles may rise while Redis does not answer.
	slower = 10 * time.Millisecond
	// fewerHits is how much the hit ratio may fall: what is in memory stays.
	fewerHits = 0.15
)

// Row is what one scenario showed.
type Row struct {
	Scenario Scenario
	Healthy  Figures       // of all times before scenarios, up to this one's
	Broken   Figures       // while it lasted
	Trips    int           // how often Redis was given up while it lasted
	Trip     time.Duration // until it was first given up; 0: it was not
	Return   time.Duration // from the end until it was used again; 0: it was in use then
	Apart    time.Duration // of several gateways, from the first that used it again to the last; 0: there is one
	Problems []string      // why the row fails; none: it passes, unless Scenario.Skip says that it was not played

	during   span
	returned bool
	misled   int     // times that Redis was thought to be whole
	late     uint64  // answers that were dropped since they came late
	losses   uint64  // times that Redis was found to have lost data
	unhurt   bool    // of several gateways, one did not give Redis up
	slow     bool    // a problem is the time that requests took
	more     Figures // of Scenario.More
	needless error   // a reason to give Redis up that Scenario.NeverFor excludes
	seen     error   // by Scenario.Check
}

// measure fills in the figures.
func (r *Row) measure(samples []sample, healthy []span, cfg Config) {
	r.Healthy = figures(samples, func(s sample) bool {
		return slices.ContainsFunc(healthy, func(h span) bool { return h.holds(s.at) })
	})
	r.Broken = figures(samples, func(s sample) bool { return r.during.holds(s.at) })
	// Requests that are under way when Redis stops answering, and those that come
	// before it is given up, may each wait for their budget.
	settled := span{r.during.from.Add(2 * cfg.Budget), r.during.to}
	r.Broken.Latency = figures(samples, func(s sample) bool { return settled.holds(s.at) }).Latency
}

// add counts the requests of another gateway, or of further traffic. Their latencies
// and hits are left out: a gateway that has just started has empty caches, and
// further traffic asks for other things than before.
func (r *Row) add(f Figures) {
	r.Broken.Requests += f.Requests
	r.Broken.Failed = append(r.Broken.Failed, f.Failed...)
}

// givenUp takes note of a change to Down.
func (r *Row) givenUp(c failover.Change) {
	if r.Trip == 0 {
		r.Trip = c.At.Sub(r.during.from)
	}
	if never := r.Scenario.NeverFor; never != "" && c.Reason != nil && strings.Contains(c.Reason.Error(), never) {
		r.needless = c.Reason
	}
}

// judge says what is wrong with the row.
func (r *Row) judge(cfg Config) {
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if n := len(r.Broken.Failed); n > 0 {
		problem("%d requests failed, the first: %s", n, r.Broken.Failed[0])
	}
	allowed := slower
	if !r.Scenario.Steady {
		allowed += cfg.Budget // each request may meet it anew
	}
	for _, q := range []struct {
		name            string
		broken, healthy time.Duration
	}{{"p50", r.Broken.Latency.P50, r.Healthy.Latency.P50}, {"p99", r.Broken.Latency.P99, r.Healthy.Latency.P99}} {
		if rise := q.broken - q.healthy; rise > allowed {
			r.slow = true
			problem("%s rose by %s, allowed %s", q.name, rise.Round(time.Millisecond), allowed)
			break
		}
	}
	if r.Broken.HitRatio < r.Healthy.HitRatio-fewerHits {
		problem("the hit ratio fell from %.2f to %.2f", r.Healthy.HitRatio, r.Broken.HitRatio)
	}
	if r.Scenario.Steady && r.Trips > 1 {
		problem("Redis was given up %d times though it was broken all the time", r.Trips)
	}
	if r.Scenario.Steady && r.misled > 0 {
		problem("Redis was thought to be whole %d times though it was broken all the time", r.misled)
	}
	if !r.returned {
		problem("Redis was not used again within %s", returnLimit)
	}
	if r.Scenario.Late && r.late == 0 {
		problem("no late answer was dropped")
	}
	if r.Scenario.Loss && r.losses == 0 {
		problem("that Redis had lost data was not noticed")
	}
	if r.needless != nil {
		problem("Redis was given up for what must not happen: %v", r.needless)
	}
	if r.seen != nil {
		problem("%v", r.seen)
	}
	if r.unhurt {
		problem("not every gateway gave Redis up")
	}
	if r.Apart > together {
		problem("the last gateway used Redis %s after the first, allowed %s", r.Apart.Round(time.Millisecond), together)
	}
}
