// Package warm fills a cache by asking for URLs, at a bounded rate: it reads lists of them, paces the requests,
// and counts what became of them. Making the requests is left to its caller.
package warm

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"
)

// Outcome is what became of one request.
type Outcome struct {
	Route  string // "": none
	Cache  string // as in the access log: hit, stale, collapsed, revalidated, miss, bypass; "": not cached
	Stored bool   // a miss that was stored
	Why    string // it was neither stored nor a hit; "": not known
	Status int
}

// Failed reports whether the response is an error.
func (o Outcome) Failed() bool { return o.Status >= 400 }

// Counts are requests by what became of them.
type Counts struct {
	Done   int            `json:"done"`
	Hits   int            `json:"hits"`   // that cost the upstream nothing
	Stored int            `json:"stored"` // filled
	Errors int            `json:"errors"` // with a status of 400 or above
	Cache  map[string]int `json:"cache"`  // by what the cache did, as in gateway_cache_requests_total; "": not cached
	Why    map[string]int `json:"why"`    // those without an error that were neither stored nor hits, by the reason
}

func (c *Counts) add(o Outcome) {
	c.Done++
	switch o.Cache {
	case "hit", "stale", "collapsed":
		c.Hits++
	}
	if o.Stored {
		c.Stored++
	}
	if o.Failed() {
		c.Errors++
	}
	if c.Cache == nil {
		c.Cache, c.Why = map[string]int{}, map[string]int{}
	}
	c.Cache[o.Cache]++
	if o.Why != "" && !o.Stored && !o.Failed() {
		c.Why[o.Why]++
	}
}

// Progress is how far a run has got.
type Progress struct {
	Total   int     `json:"total"`
	Seconds float64 `json:"seconds"` // since the start
	Ended   bool    `json:"ended"`
	Stopped bool    `json:"stopped"` // before its end
	Counts
	Routes map[string]Counts `json:"routes"`       // by name; "": none
	First  map[string]string `json:"first_errors"` // a URL for each status of an error
}

// maxErrors bounds Progress.First.
const maxErrors = 8

// Config says how to run. Ask, Rate and AtOnce are required.
type Config struct {
	Ask    func(url string) Outcome // makes a request
	Rate   float64                  // the most requests a second
	AtOnce int                      // the most requests at a time
}

// behind is how late a run may be before it gives up catching up.
const behind = time.Second

// longest bounds the time between two requests, which a tiny rate would make more than a Duration holds.
const longest = 10 * 365 * 24 * time.Hour

// Run is a run of requests.
type Run struct {
	cfg   Config
	urls  []string
	began time.Time

	mu sync.Mutex
	p  Progress // guarded by mu
}

// New returns a run that has not begun.
func New(urls []string, cfg Config) *Run {
	return &Run{cfg: cfg, urls: urls, began: time.Now(), p: Progress{Total: len(urls), Routes: map[string]Counts{}, First: map[string]string{}}}
}

// Run asks for all URLs, in their order, until ctx is done. It returns when no request is in flight.
func (r *Run) Run(ctx context.Context) {
	next := time.Now()
	every := time.Duration(min(float64(time.Second)/r.cfg.Rate, float64(longest)))
	turns := make(chan struct{}, r.cfg.AtOnce)
	var asking sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	for _, url := range r.urls {
		timer.Reset(time.Until(next))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
		case turns <- struct{}{}:
		}
		if ctx.Err() != nil {
			break
		}
		// Late requests are made up for at once, but not those of a long pause.
		if next = next.Add(every); time.Since(next) > behind {
			next = time.Now()
		}
		asking.Go(func() {
			defer func() { <-turns }()
			r.count(url, r.cfg.Ask(url))
		})
	}
	asking.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.urls = nil // the outcome is kept until the next run
	r.p.Ended, r.p.Stopped, r.p.Seconds = true, r.p.Done < r.p.Total, time.Since(r.began).Seconds()
}

func (r *Run) count(url string, o Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.add(o)
	of := r.p.Routes[o.Route]
	of.add(o)
	r.p.Routes[o.Route] = of
	if status := strconv.Itoa(o.Status); o.Failed() && r.p.First[status] == "" && len(r.p.First) < maxErrors {
		r.p.First[status] = url
	}
}

// Progress returns how far the run has got.
func (r *Run) Progress() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.p
	if !p.Ended {
		p.Seconds = time.Since(r.began).Seconds()
	}
	p.Cache, p.Why, p.First, p.Routes = maps.Clone(p.Cache), maps.Clone(p.Why), maps.Clone(p.First), map[string]Counts{}
	for name, c := range r.p.Routes {
		c.Cache, c.Why = maps.Clone(c.Cache), maps.Clone(c.Why)
		p.Routes[name] = c
	}
	return p
}
