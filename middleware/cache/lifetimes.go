package cache

import (
	"fmt"
	"slices"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
)

// RouteOverview is what the cache did for a route, and what it has of it in memory.
type RouteOverview struct {
	RouteRatios
	Stored   int   `json:"stored"`   // responses
	Stale    int   `json:"stale"`    // of them
	Age      int64 `json:"age"`      // their median, in seconds
	Lifetime int64 `json:"lifetime"` // the median of what they are fresh for, in seconds
}

// Fills is how many requests of the last hour asked the upstream for what is stored.
func (r *RouteOverview) Fills() int {
	return r.Hour.Outcomes[factMiss] + r.Hour.Outcomes[factRevalidated] + r.Refills.Background
}

// Refills are responses of the last hour that replaced a stored one.
type Refills struct {
	All        int `json:"all"`
	Unchanged  int `json:"unchanged"`  // with the same content
	Background int `json:"background"` // for no client
}

const (
	// leastRefills is how many refills are enough to judge a lifetime, mostUnchanged the share of them without a
	// change from which on it is too short.
	leastRefills, mostlyUnchanged = 10, 0.9
	// leastRequests is how many requests are enough to judge that a route's responses are not asked for again, as
	// are those of a route with a ratio of hits below fewHits.
	leastRequests, fewHits = 100, 0.05
)

// Advice says whether another lifetime would pay, by the last hour; "": not as far as is known.
func (r *RouteOverview) Advice() string {
	all := r.Refills.All
	switch {
	case all >= leastRefills && float64(r.Refills.Unchanged) >= mostlyUnchanged*float64(all):
		twice := 2 * time.Duration(r.Lifetime) * time.Second
		return fmt.Sprintf("a longer lifetime would pay: %d of %d refills brought what was stored already; with %s there would be about %d fewer an hour",
			r.Refills.Unchanged, all, twice, all/2)
	case all >= leastRefills && 10*r.Refills.Unchanged <= all && r.Hour.Hits < 0.5:
		return fmt.Sprintf("its content changes with nearly every refill (%d of %d): a longer lifetime would serve what is out of date", all-r.Refills.Unchanged, all)
	case r.Hour.Requests >= leastRequests && r.Hour.Hits < fewHits:
		return "hardly any response is asked for again while it is fresh: a longer lifetime, or fewer variants, would pay"
	}
	return ""
}

// lifetimes collects what is in memory by route: by the slot of its tag, which every entry has.
type lifetimes map[uint16]*lifetime

// lifetime is what is in memory of a route.
type lifetime struct {
	ages, fresh []time.Duration
	stale       int
}

// add adds an entry.
func (l lifetimes) add(e *Entry, now time.Time) {
	for _, m := range e.Marks {
		if of := l[m.Slot]; of != nil {
			of.ages, of.fresh = append(of.ages, e.age(now)), append(of.fresh, e.Fresh)
			if e.remaining(now) <= 0 {
				of.stale++
			}
			return
		}
	}
}

// complete completes the overview of a route.
func (l lifetimes) complete(r *RouteOverview) {
	if of := l[slotOf(routeTag(r.Route))]; of != nil && len(of.ages) > 0 {
		r.Stored, r.Stale = len(of.ages), of.stale
		r.Age, r.Lifetime = int64(median(of.ages)/time.Second), int64(median(of.fresh)/time.Second)
	}
}

func median(of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[len(of)/2]
}

// The places of a tally of refills.
const (
	refillAll = iota
	refillUnchanged
	refillBackground
)

// refilled counts a response that replaced a stored one.
func (a *ratios) refilled(ex *exchange.Exchange, unchanged, background bool, now time.Time) {
	r := a.route(ex.Route.Name)
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &r.refills
	w.move(now)
	t := &w.times[w.at%int64(len(w.times))]
	t[refillAll]++
	if unchanged {
		t[refillUnchanged]++
	}
	if background {
		t[refillBackground]++
	}
}

// sumRefills returns those of the last hour.
func (w *window) sumRefills(now time.Time) (r Refills) {
	w.move(now)
	for _, t := range w.times {
		r.All += int(t[refillAll])
		r.Unchanged += int(t[refillUnchanged])
		r.Background += int(t[refillBackground])
	}
	return r
}
