package metrics

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sampleEvery is how often the counters are sampled, recentSpan how far Recent reaches back, and
// historySpan how far History does.
const sampleEvery, recentSpan, historySpan = 5 * time.Second, time.Minute, 15 * time.Minute

// Done is what was done with some requests.
type Done struct {
	Requests Flow `json:"requests"`
	Failed   int  `json:"failed"`  // with a status of 500 or above
	Limited  int  `json:"limited"` // with 429
	Refused  int  `json:"refused"` // with another 4xx
	Cached   int  `json:"cached"`  // on cached routes
	Hits     int  `json:"hits"`    // of those, that cost the upstream nothing
}

// Recent is what happened in about the last minute, or since the start.
type Recent struct {
	Seconds float64 `json:"seconds"` // how far back it reaches
	Done
	Upstreams map[string]Flow `json:"upstreams,omitempty"` // those that were asked
	Routes    map[string]Done `json:"routes,omitempty"`    // those that were asked for; "": requests without one
}

// Moment is what happened in a few seconds.
type Moment struct {
	At      time.Time `json:"at"` // their end
	Seconds float64   `json:"seconds"`
	Done
}

// Flow is a number of requests, and how long they took in seconds, by quantile.
type Flow struct {
	Count int     `json:"count"`
	Rate  float64 `json:"rate"` // a second
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
}

// samples are totals of the past, oldest first.
type samples struct {
	sampled *prometheus.Registry

	mu  sync.Mutex
	all []sample // guarded by mu
}

// sample is the totals of one moment.
type sample struct {
	at time.Time
	totals
	routes    map[string]totals    // nil: it is older than recentSpan
	upstreams map[string]histogram // as routes
}

type totals struct {
	requests                               histogram
	failed, limited, refused, cached, hits float64
}

// histogram has the cumulative count of each bucket, the last of which holds all.
type histogram [len(bounds) + 1]float64

// bounds of buckets range from a hit in memory to a slow upstream, in seconds.
var bounds = [...]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Sample keeps samples for Recent until ctx is done.
func (m *Metrics) Sample(ctx context.Context) {
	turns := time.NewTicker(sampleEvery)
	defer turns.Stop()
	for {
		m.recent.keep(m.recent.take(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-turns.C:
		}
	}
}

// Recent returns what happened lately.
func (m *Metrics) Recent(now time.Time) Recent {
	before := m.recent.before(now)
	last := m.recent.take(now)
	return last.since(before)
}

// History returns what happened in the last minutes, the oldest first.
func (m *Metrics) History() []Moment {
	m.recent.mu.Lock()
	defer m.recent.mu.Unlock()
	moments := []Moment{}
	for i, s := range m.recent.all[min(1, len(m.recent.all)):] {
		before := &m.recent.all[i]
		seconds := s.at.Sub(before.at).Seconds()
		moments = append(moments, Moment{s.at.UTC(), seconds, s.totals.since(&before.totals, seconds)})
	}
	return moments
}

// keep adds a sample, and drops those that are too old.
func (s *samples) keep(one sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
	if most := int(historySpan/sampleEvery) + 1; len(s.all) > most {
		s.all = append(s.all[:0], s.all[len(s.all)-most:]...)
	}
	if old := len(s.all) - 2 - int(recentSpan/sampleEvery); old >= 0 {
		s.all[old].routes, s.all[old].upstreams = nil, nil
	}
}

// before returns the sample with which Recent begins; without any, one of zeros.
func (s *samples) before(now time.Time) sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return sample{at: now}
	}
	return s.all[max(0, len(s.all)-1-int(recentSpan/sampleEvery))]
}

// take samples the totals.
func (s *samples) take(now time.Time) sample {
	one := sample{at: now, routes: map[string]totals{}, upstreams: map[string]histogram{}}
	families, err := s.sampled.Gather()
	if err != nil {
		return one // our own families never fail
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := func(name string) string {
				for _, l := range m.GetLabel() {
					if l.GetName() == name {
						return l.GetValue()
					}
				}
				return ""
			}
			var h histogram
			for i, b := range m.GetHistogram().GetBucket() {
				if i < len(bounds) {
					h[i] = float64(b.GetCumulativeCount())
				}
			}
			h[len(bounds)] = float64(m.GetHistogram().GetSampleCount())
			route := one.routes[label("route")]
			switch n := m.GetCounter().GetValue(); f.GetName() {
			case "gateway_upstream_duration_seconds":
				one.upstreams[label("upstream")] = h
				continue
			case "gateway_request_duration_seconds":
				route.requests = h
			case "gateway_requests_total":
				switch status := label("status"); {
				case status == "429":
					route.limited += n
				case strings.HasPrefix(status, "4"):
					route.refused += n
				case strings.HasPrefix(status, "5"):
					route.failed += n
				}
			case "gateway_cache_requests_total":
				route.cached += n
				switch label("outcome") {
				case "hit", "stale", "collapsed":
					route.hits += n
				}
			}
			one.routes[label("route")] = route
		}
	}
	for _, route := range one.routes {
		one.add(&route)
	}
	return one
}

func (t *totals) add(other *totals) {
	for i, n := range other.requests {
		t.requests[i] += n
	}
	t.failed, t.limited, t.refused = t.failed+other.failed, t.limited+other.limited, t.refused+other.refused
	t.cached, t.hits = t.cached+other.cached, t.hits+other.hits
}

// since returns what happened after an earlier moment.
func (t *totals) since(before *totals, seconds float64) Done {
	return Done{
		Requests: flow(t.requests, before.requests, seconds), Failed: int(t.failed - before.failed), Limited: int(t.limited - before.limited),
		Refused: int(t.refused - before.refused), Cached: int(t.cached - before.cached), Hits: int(t.hits - before.hits),
	}
}

// since returns what happened after an earlier sample.
func (s *sample) since(before sample) Recent {
	seconds := s.at.Sub(before.at).Seconds()
	r := Recent{Seconds: seconds, Done: s.totals.since(&before.totals, seconds), Upstreams: map[string]Flow{}, Routes: map[string]Done{}}
	for name, route := range s.routes {
		earlier := before.routes[name]
		if done := route.since(&earlier, seconds); done.Requests.Count > 0 {
			r.Routes[name] = done
		}
	}
	for name, h := range s.upstreams {
		if f := flow(h, before.upstreams[name], seconds); f.Count > 0 {
			r.Upstreams[name] = f
		}
	}
	return r
}

func flow(now, before histogram, seconds float64) Flow {
	for i, n := range before {
		now[i] -= n
	}
	count := now[len(bounds)]
	f := Flow{Count: int(count), P50: now.quantile(.5), P99: now.quantile(.99)}
	if seconds > 0 {
		f.Rate = count / seconds
	}
	return f
}

// quantile estimates a quantile as Prometheus' histogram_quantile does: evenly spread within a
// bucket, and the highest bound for what lies above it.
func (h *histogram) quantile(q float64) float64 {
	rank := q * h[len(bounds)]
	if rank == 0 {
		return 0
	}
	below, from := 0.0, 0.0
	for i, bound := range bounds {
		if h[i] >= rank {
			return from + (bound-from)*(rank-below)/math.Max(h[i]-below, 1)
		}
		below, from = h[i], bound
	}
	return bounds[len(bounds)-1]
}
