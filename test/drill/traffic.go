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

// traffic is an attack that goes on until it is stopped. At some hundred
// requests a second for some minutes its samples take a few megabytes.
type traffic struct {
	attacker *vegeta.Attacker
	ended    sync.WaitGroup

	mu      sync.Mutex
	samples []sample // appended to alone; guarded by mu
}

// longest bounds a drill that nobody stops.
const longest = 30 * time.Minute

func startTraffic(target vegeta.Targeter, rate int) *traffic {
	t := &traffic{attacker: vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.MaxWorkers(256))}
	results := t.attacker.Attack(target, vegeta.Rate{Freq: rate, Per: time.Second}, longest, "drill")
	t.ended.Go(func() {
		for r := range results {
			s := newSample(r)
			t.mu.Lock()
			t.samples = append(t.samples, s)
			t.mu.Unlock()
		}
	})
	return t
}

// soFar returns the samples of the requests that have ended.
func (t *traffic) soFar() []sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.samples
}

// stop ends the attack.
func (t *traffic) stop() {
	t.attacker.Stop()
	t.ended.Wait()
}

// span is a time from, and up to but without to.
type span struct{ from, to time.Time }

func (s span) holds(at time.Time) bool { return !at.Before(s.from) && at.Before(s.to) }

// Latency is what 50 and 99 of 100 requests do not exceed.
type Latency struct{ P50, P99 time.Duration }

// Figures are what the samples of a time say.
type Figures struct {
	Requests int
	Failed   []string // one a failure
	HitRatio float64  // of requests on cached routes
	Latency  Latency  // of what the gateway answers itself
}

func figures(samples []sample, in func(sample) bool) Figures {
	var f Figures
	var own []time.Duration
	hits, cached := 0, 0
	for _, s := range samples {
		if !in(s) {
			continue
		}
		f.Requests++
		if s.failed != "" {
			f.Failed = append(f.Failed, s.failed)
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
	f.Latency = Latency{quantile(own, 0.5), quantile(own, 0.99)}
	return f
}

// quantile is the smallest value that a share q of the sorted ones do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
