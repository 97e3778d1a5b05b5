package cache

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/bounded"
	"github.com/jewgo/gateway/internal/exchange"
)

// maxRatios bounds the routes that are counted, by the names of all policies so far.
const maxRatios = 4096

// outcomes are what the cache did, in the order of a tally.
var outcomes = [...]string{factHit, factStale, factCollapsed, factRevalidated, factMiss, factBypass}

// spared is how many of outcomes spare the upstream a request.
const spared = 3

type tally [len(outcomes)]uint32

// ratios counts the outcomes of each route in the last minute, hour and day.
type ratios struct {
	mu sync.Mutex
	of bounded.Map[string, *routeRatios]
}

type routeRatios struct {
	mu                sync.Mutex // guards what follows
	minute, hour, day window
	refills           window // see refilled
}

// window counts in a ring of times, the oldest of which is dropped as a new one begins.
type window struct {
	step  time.Duration // of one of times
	at    int64         // the newest: how many steps have passed since the epoch
	times []tally
}

func newWindow(step time.Duration, steps int) window {
	return window{step: step, times: make([]tally, steps)}
}

// move begins the times between the last call and now.
func (w *window) move(now time.Time) {
	n, at := int64(len(w.times)), now.UnixNano()/int64(w.step)
	for w.at = max(w.at, at-n); w.at < at; {
		w.at++
		w.times[w.at%n] = tally{}
	}
}

func (w *window) sum(now time.Time) Ratio {
	w.move(now)
	r := Ratio{Outcomes: map[string]int{}}
	hits := 0
	for i, outcome := range outcomes {
		n := 0
		for _, t := range w.times {
			n += int(t[i])
		}
		if n > 0 {
			r.Outcomes[outcome] = n
		}
		r.Requests += n
		if i < spared {
			hits += n
		}
	}
	if r.Requests > 0 {
		r.Hits = float64(hits) / float64(r.Requests)
	}
	return r
}

// count counts what the cache did for a client's request that it may answer; a request that failed
// counts as a miss.
func (a *ratios) count(ex *exchange.Exchange) {
	i := slices.Index(outcomes[:], cmp.Or(ex.Facts.Cache, factMiss))
	if ex.Own || ex.Plan != nil && ex.Plan.Forward == forwardMethod || i < 0 {
		return
	}
	r := a.route(ex.Route.Name)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range []*window{&r.minute, &r.hour, &r.day} {
		w.move(ex.View.Now)
		w.times[w.at%int64(len(w.times))][i]++
	}
}

func (a *ratios) route(name string) *routeRatios {
	if r, ok := a.of.Get(name); ok {
		return r
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.of.Get(name)
	if !ok {
		r = &routeRatios{minute: newWindow(time.Second, 60), hour: newWindow(time.Minute, 60), day: newWindow(time.Hour, 24), refills: newWindow(time.Minute, 60)}
		a.of.Put(name, r)
	}
	return r
}

// Ratio is what the cache did in some time.
type Ratio struct {
	Requests int            `json:"requests"`
	Hits     float64        `json:"hits"`     // the share that cost the upstream nothing, 0 to 1: hit, stale or collapsed
	Outcomes map[string]int `json:"outcomes"` // as in the log's cache
}

// RouteRatios is what the cache did for a route in the last minute, hour and day. Times begin with
// the second, minute and hour, so the last of them are still in progress.
type RouteRatios struct {
	Route  string `json:"route"`
	Minute Ratio  `json:"minute"`
	Hour   Ratio  `json:"hour"`
	Day    Ratio  `json:"day"`

	Refills Refills `json:"refills"`
}

func (a *ratios) list(name string, now time.Time) RouteRatios {
	r := a.route(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	return RouteRatios{name, r.minute.sum(now), r.hour.sum(now), r.day.sum(now), r.refills.sumRefills(now)}
}
