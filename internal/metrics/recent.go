package metrics

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sampleEvery is how often the counters are sampled, recentSpan how far back the samples reach.
const sampleEvery, recentSpan = 5 * time.Second, time.Minute

// Recent is what happened in about the last minute, or since the start.
type Recent struct {
	Seconds  float64 `json:"seconds"` // how far back it reaches
	Requests Flow    `json:"requests"`
	Failed   int     `json:"failed"`  // with a status of 500 or above
	Limited  int     `json:"limited"` // with 429
	Cached   int     `json:"cached"`  // on cached routes
	Hits     int     `json:"hits"`    // of those, that cost the upstream nothing
	// Upstreams are those that were asked, by name, and FailedBy has Failed by route.
	Upstreams map[string]Flow `json:"upstreams,omitempty"`
	FailedBy  map[string]int  `json:"failed_by,omitempty"`
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
	at                            time.Time
	failed, limited, cached, hits float64
	requests                      histogram
	upstreams                     map[string]histogram
	failedBy                      map[string]float64 // by route
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
	last := m.recent.take(now)
	return last.since(m.recent.oldest(now))
}

// keep adds a sample, and drops those that are too old.
func (s *samples) keep(one sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
	if most := int(recentSpan/sampleEvery) + 1; len(s.all) > most {
		s.all = append(s.all[:0], s.all[len(s.all)-most:]...)
	}
}

// oldest returns the oldest sample; without any, one of zeros.
func (s *samples) oldest(now time.Time) sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return sample{at: now}
	}
	return s.all[0]
}

// take samples the totals.
func (s *samples) take(now time.Time) sample {
	one := sample{at: now, upstreams: map[string]histogram{}, failedBy: map[string]float64{}}
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
			n := m.GetCounter().GetValue()
			switch f.GetName() {
			case "gateway_requests_total":
				if status := label("status"); status == "429" {
					one.limited += n
				} else if strings.HasPrefix(status, "5") {
					one.failed += n
					one.failedBy[label("route")] += n
				}
			case "gateway_request_duration_seconds":
				one.requests.add(h)
			case "gateway_upstream_duration_seconds":
				one.upstreams[label("upstream")] = h
			case "gateway_cache_requests_total":
				one.cached += n
				switch label("outcome") {
				case "hit", "stale", "collapsed":
					one.hits += n
				}
			}
		}
	}
	return one
}

func (h *histogram) add(other histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// since returns what happened after an earlier sample.
func (s sample) since(before sample) Recent {
	seconds := s.at.Sub(before.at).Seconds()
	r := Recent{
		Seconds: seconds, Failed: int(s.failed - before.failed), Limited: int(s.limited - before.limited),
		Cached: int(s.cached - before.cached), Hits: int(s.hits - before.hits),
		Requests: flow(s.requests, before.requests, seconds), Upstreams: map[string]Flow{}, FailedBy: map[string]int{},
	}
	for route, n := range s.failedBy {
		if n -= before.failedBy[route]; n > 0 {
			r.FailedBy[route] = int(n)
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
