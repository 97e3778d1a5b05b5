package drill

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// longest bounds a drill that nobody stops.
const longest = 30 * time.Minute

// attack sends requests until stop is called, and shows heard each result, one
// after the other.
func attack(target vegeta.Targeter, rate vegeta.Rate, heard func(*vegeta.Result)) (stop func()) {
	attacker := vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.MaxWorkers(256))
	results := attacker.Attack(target, rate, longest, "drill")
	var ended sync.WaitGroup
	ended.Go(func() {
		for r := range results {
			heard(r)
		}
	})
	return func() {
		attacker.Stop()
		ended.Wait()
	}
}

// sample is what one request met.
type sample struct {
	at      time.Time // when it was sent
	latency time.Duration
	failed  string // what no client should see, or ""
	hit     bool
	cached  bool // the route is cached
	own     bool // answered by the gateway itself
}

// newSample judges one result. The backend's own time says nothing about Redis:
// latency is looked at where the gateway answers itself.
func newSample(r *vegeta.Result) sample {
	status := r.Headers.Get("Cache-Status")
	s := sample{at: r.Timestamp, latency: r.Latency, hit: strings.HasPrefix(status, "edge; hit"), cached: status != ""}
	s.own = s.hit || r.Code == http.StatusTooManyRequests
	if r.Code == 0 || r.Code >= 500 {
		s.failed = r.Method + " " + r.URL + ": " + r.Error
	}
	return s
}

// samples are those of a drill. At some hundred requests a second for some minutes
// they take a few megabytes.
type samples struct {
	mu  sync.Mutex
	all []sample // appended to alone; guarded by mu
}

func (s *samples) add(r *vegeta.Result) {
	one := newSample(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
}

// soFar returns those of the requests that have ended.
func (s *samples) soFar() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// span is a time from, and up to but without to.
type span struct{ from, to time.Time }

func (s span) holds(at time.Time) bool { return !at.Before(s.from) && at.Before(s.to) }

// Figures are what the samples of some time say. Percentiles are of what the
// gateway answers itself.
type Figures struct {
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"` // answered with 5xx, or not at all
	P50      MS      `json:"p50_ms"`
	P99      MS      `json:"p99_ms"`
	HitRatio float64 `json:"hit_ratio"` // of requests on cached routes

	first string // failure
}

func figures(all []sample, in ...span) Figures {
	var f Figures
	var own []time.Duration
	hits, cached := 0, 0
	for _, s := range all {
		if !slices.ContainsFunc(in, func(one span) bool { return one.holds(s.at) }) {
			continue
		}
		f.Requests++
		if s.failed != "" {
			if f.Failed++; f.Failed == 1 {
				f.first = s.failed
			}
		}
		if s.cached {
			cached++
		}
		if s.hit {
			hits++
		}
		if s.own {
			own = append(own, s.latency)
		}
	}
	if cached > 0 {
		f.HitRatio = float64(hits) / float64(cached)
	}
	slices.Sort(own)
	f.P50, f.P99 = inMS(quantile(own, 0.5)), inMS(quantile(own, 0.99))
	return f
}

// quantile is the smallest value that a share q of the sorted ones do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
