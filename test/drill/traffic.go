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

// longest bounds a drill without a --for.
const longest = 30 * time.Minute

// attack sends requests until stop is called, and passes each result to heard, one at a time.
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

// sample is the result of one request.
type sample struct {
	at      time.Time // when it was sent
	latency time.Duration
	failed  string // an error that no client should see, or ""
	hit     bool
	cached  bool // the route is cached
	own     bool // answered by the gateway itself
}

// newSample judges one result. Latency only counts if the gateway answers itself (own), since the
// backend's time says nothing about Redis.
func newSample(r *vegeta.Result) sample {
	status := r.Headers.Get("Cache-Status")
	s := sample{at: r.Timestamp, latency: r.Latency, hit: strings.HasPrefix(status, "edge; hit"), cached: status != ""}
	s.own = s.hit || r.Code == http.StatusTooManyRequests
	if r.Code == 0 || r.Code >= 500 {
		s.failed = r.Method + " " + r.URL + ": " + r.Error
	}
	return s
}

// samples are the samples of a drill. Some hundred per second for some minutes take a few megabytes.
type samples struct {
	mu  sync.Mutex
	all []sample // only appended to; guarded by mu
}

func (s *samples) add(r *vegeta.Result) {
	one := newSample(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
}

// soFar returns the samples of the requests that have ended.
func (s *samples) soFar() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// span is the time from from, inclusive, up to to, exclusive.
type span struct{ from, to time.Time }

func (s span) holds(at time.Time) bool { return !at.Before(s.from) && at.Before(s.to) }

// Figures summarize the samples of some time. Percentiles only cover responses of the gateway itself.
type Figures struct {
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"` // answered with 5xx, or not at all
	P50      MS      `json:"p50_ms"`
	P99      MS      `json:"p99_ms"`
	HitRatio float64 `json:"hit_ratio"` // of requests on cached routes

	first string // first failure
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

// quantile is the smallest of the sorted values that a share q of them do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
