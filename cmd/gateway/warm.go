package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/warm"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

const (
	// policyRate is at how many requests a second the policy's URLs are asked for, and warmAtOnce how many at a time,
	// unless an operator says otherwise; maxWarmRate and maxWarmAtOnce bound what one may say.
	policyRate, warmAtOnce     = 50, 8
	maxWarmRate, maxWarmAtOnce = 10_000, 256
	// purgeLook is how often the warmer looks whether everything was purged. While upstreams fail, it asks for the
	// policy's URLs again after firstRetry, and then after twice as long each time, up to lastRetry.
	purgeLook             = time.Second
	firstRetry, lastRetry = 2 * time.Second, time.Minute
	// warmTime bounds one request, so that a stream without end does not keep a run from its end; warmParting is how
	// long requests in flight have when a run is stopped.
	warmTime, warmParting = 2 * time.Minute, 5 * time.Second
)

var (
	errWarming = errors.New("a run is in progress; stop it, or wait for its end")
	errLeaving = errors.New("the gateway is stopping")
)

// warmer asks the gateway itself for URLs, so that their responses are stored. Limits do not count its requests.
type warmer struct {
	handler http.Handler // the layers without limits, with noteExchange
	live    *policy.Live
	tags    *cache.Tags
	log     *slog.Logger

	mu   sync.Mutex // guards what follows
	run  *warm.Run  // the last one; nil: none
	stop context.CancelFunc
	cut  context.CancelFunc // ends the run's requests too
	over chan struct{}      // closed when run has ended
	left bool               // no further run begins
}

// warmKey is the context key of the place for a request's exchange.
type warmKey struct{}

func noteExchange(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if place, ok := r.Context().Value(warmKey{}).(**exchange.Exchange); ok {
			*place = exchange.From(r.Context())
			(*place).Own = true
		}
		next.ServeHTTP(w, r)
	})
}

// begin starts a run in the background. It returns errWarming if one is in progress, or errLeaving.
func (w *warmer) begin(urls []string, rate float64, atOnce int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.left:
		return errLeaving
	case w.run != nil && !w.run.Progress().Ended:
		return errWarming
	}
	ctx, stop := context.WithCancel(context.Background())
	requests, cut := context.WithCancel(context.Background())
	ask := func(url string) warm.Outcome { return w.ask(requests, url) }
	run, over := warm.New(urls, warm.Config{Ask: ask, Rate: rate, AtOnce: atOnce}), make(chan struct{})
	w.run, w.stop, w.cut, w.over = run, stop, cut, over
	go func() { // end waits for it
		defer close(over)
		defer cut()
		defer stop()
		run.Run(ctx)
	}()
	return nil
}

// progress is that of the last run; nil: none.
func (w *warmer) progress() *warm.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.run == nil {
		return nil
	}
	return new(w.run.Progress())
}

// halt stops the run, if one is in progress, and returns what is closed when its last request has ended; nil: there
// was none. Requests that are still in flight after warmParting are cut off.
func (w *warmer) halt() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.haltLocked()
}

func (w *warmer) haltLocked() <-chan struct{} {
	if w.stop != nil {
		w.stop()
		time.AfterFunc(warmParting, w.cut)
	}
	return w.over
}

// leave is halt, and no further run begins.
func (w *warmer) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = true
	w.haltLocked()
}

// end is leave, cuts off requests in flight, and waits for their end.
func (w *warmer) end() {
	w.leave()
	w.mu.Lock()
	cut, over := w.cut, w.over
	w.mu.Unlock()
	if over != nil {
		cut()
		<-over
	}
}

// ask takes one request through the layers.
func (w *warmer) ask(ctx context.Context, target string) warm.Outcome {
	ctx, cancel := context.WithTimeout(ctx, warmTime)
	defer cancel()
	s := w.live.Load()
	q := question{method: http.MethodGet}
	if len(target) > int(s.Policy.Server.MaxTarget) {
		return warm.Outcome{Status: http.StatusRequestURITooLong}
	}
	if strings.HasPrefix(target, "//") { // of an access log: its host
		target = map[bool]string{true: "https:", false: "http:"}[s.Policy.Server.TLS != nil] + target
	}
	if err := q.parseURL(target, s); err != nil {
		return warm.Outcome{Status: http.StatusBadRequest}
	}
	var ex *exchange.Exchange
	r, err := q.request(context.WithValue(ctx, warmKey{}, &ex), s)
	if err != nil {
		return warm.Outcome{Status: http.StatusBadRequest}
	}
	out := &discarded{header: http.Header{}}
	w.serve(out, r)
	o := warm.Outcome{Status: out.status}
	if ex != nil {
		o.Cache, o.Status, o.Why = ex.Facts.Cache, ex.Facts.Status, ex.Facts.NotStored
		if members := out.header["Cache-Status"]; len(members) > 0 { // the last is the gateway's own
			own := members[len(members)-1]
			o.Stored = o.Cache == "miss" && strings.Contains(own, "; stored")
			if o.Cache == "bypass" {
				_, o.Why, _ = strings.Cut(own, "; detail=")
			}
		}
		if ex.Route != nil {
			o.Route = ex.Route.Name
			if ex.Route.Cache == nil {
				o.Why = "not cached"
			}
		}
	}
	return o
}

// serve serves a request. A response that breaks off is one with its status.
func (w *warmer) serve(out http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // a panic's value, not an error
			panic(v)
		}
	}()
	w.handler.ServeHTTP(out, r)
}

// watch asks for the policy's URLs at the start, and after each purge of everything, until ctx is done. While upstreams
// fail it asks again, less and less often.
func (w *warmer) watch(ctx context.Context) {
	due, wait := time.Now(), firstRetry
	seen := w.tags.PurgesOfAll()
	turns := time.NewTicker(purgeLook)
	defer turns.Stop()
	for {
		if now := w.tags.PurgesOfAll(); now != seen {
			seen, due, wait = now, time.Now(), firstRetry
		}
		if urls := w.live.Load().Policy.Warm; len(urls) > 0 && !due.IsZero() && !time.Now().Before(due) && w.begin(urls, policyRate, warmAtOnce) == nil {
			if due = (time.Time{}); w.failed(ctx) {
				due, wait = time.Now().Add(wait), min(2*wait, lastRetry)
			}
		} // else it is not due, or another run is in progress
		select {
		case <-ctx.Done():
			return
		case <-turns.C:
		}
	}
}

// failed waits for the end of the policy's run, logs its outcome, and reports whether upstreams failed.
func (w *warmer) failed(ctx context.Context) bool {
	w.mu.Lock()
	run, over := w.run, w.over
	w.mu.Unlock()
	select {
	case <-over:
	case <-ctx.Done():
		return false
	}
	p := run.Progress()
	level := slog.LevelInfo
	if p.Errors > 0 {
		level = slog.LevelWarn
	}
	w.log.Log(ctx, level, "the cache was warmed with the policy's URLs", "urls", p.Done, "stored", p.Stored, "hits", p.Hits, "errors", p.Errors, "for_example", p.First)
	for status := range p.First {
		if status[0] == '5' {
			return true
		}
	}
	return false
}

// warmSelection is what an operator wants to be asked for.
type warmSelection struct {
	URLs   []string `json:"urls"`
	Rate   float64  `json:"rate"`    // a second; 0: 50
	AtOnce int      `json:"at_once"` // 0: 8
}

// Start implements admin.Warm.
func (w *warmer) Start(selection []byte) (any, error) {
	var what warmSelection
	if err := strictJSON(selection, &what); err != nil {
		return nil, fmt.Errorf("%w: want a JSON object with urls, rate, at_once: %w", admin.ErrBad, err)
	}
	if what.Rate == 0 {
		what.Rate = policyRate
	}
	if what.AtOnce == 0 {
		what.AtOnce = warmAtOnce
	}
	switch {
	case len(what.URLs) == 0 || len(what.URLs) > warm.MaxURLs:
		return nil, fmt.Errorf("%w: want from 1 to %d urls", admin.ErrBad, warm.MaxURLs)
	case what.Rate < 0 || what.Rate > maxWarmRate || what.AtOnce < 0 || what.AtOnce > maxWarmAtOnce:
		return nil, fmt.Errorf("%w: want a rate of at most %d a second, and at most %d at once", admin.ErrBad, maxWarmRate, maxWarmAtOnce)
	}
	if err := w.begin(what.URLs, what.Rate, what.AtOnce); err != nil {
		return nil, adminError{err, admin.ErrBusy}
	}
	return w.progress(), nil
}

// Progress implements admin.Warm.
func (w *warmer) Progress() (any, error) {
	if p := w.progress(); p != nil {
		return p, nil
	}
	return nil, adminError{errors.New("the cache was not warmed since the start"), admin.ErrUnknown}
}

// Stop implements admin.Warm.
func (w *warmer) Stop() (any, error) {
	if over := w.halt(); over != nil {
		<-over
	}
	return w.Progress()
}
