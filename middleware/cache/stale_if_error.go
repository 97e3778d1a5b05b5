package cache

import (
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
)

const (
	// disconnectedStale is how long a stale response is served while the upstream is unreachable,
	// if neither policy nor origin set a time and the origin does not forbid it (RFC 9111, 4.2.4).
	disconnectedStale = time.Hour
	// After a failed validation the upstream is asked again after firstBackoff, then after twice as
	// long each time, up to maxBackoff.
	firstBackoff, maxBackoff = time.Second, 30 * time.Second
)

// staleIfError returns the stale entry instead of a failure if that is allowed, and remembers
// whether the upstream failed.
func (c *call) staleIfError(resp *http.Response, err error, now time.Time) (*http.Response, bool) {
	if c.req.Context().Err() != nil {
		return nil, false
	}
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	failed := err != nil || rfc9111.FailedStatus(status)
	c.noteOutcome(failed, status, now)
	if !failed || c.stored == nil || !c.mayServeFailed(status, now) {
		return nil, false
	}
	if err == nil {
		_ = resp.Body.Close() // close without reading, since the body is not needed
	}
	return c.servedStale(forwarded{why: forwardStale, status: status, key: shownKey(c.ex, c.ex.Plan.Key), detail: "stale-if-error"}.String()), true
}

// failure is what is known of an upstream that failed to validate an entry.
type failure struct {
	status int       // 0: unreachable
	times  int       // in a row
	retry  time.Time // when it is asked again
}

// noteOutcome remembers whether the upstream failed to validate the call's entry; status as in
// failure.
func (c *call) noteOutcome(failed bool, status int, now time.Time) {
	failing := &c.cache.failing
	key := c.flightKey()
	last, known := failing.get(key, now)
	if !failed && known {
		failing.Delete(key)
	}
	if !failed || c.stored == nil {
		return
	}
	wait := min(firstBackoff<<min(last.times, 8), maxBackoff)
	c.failed = &failure{status: status, times: last.times + 1, retry: now.Add(wait)}
	failing.put(key, *c.failed, c.failed.retry.Add(maxBackoff)) // a failure right after the pause continues the row
}

// backsOff reports whether the upstream must not be asked for now.
func (c *call) backsOff(key string) (failure, bool) {
	f, _ := c.cache.failing.get(key, c.ex.Plan.Now)
	return f, c.ex.Plan.Now.Before(f.retry)
}

// answerInBackoff answers with the stale entry, without asking an upstream that just failed, if a
// further failure would give the same.
func (c *call) answerInBackoff() *http.Response {
	if c.stored == nil {
		return nil
	}
	p := c.ex.Plan
	f, waits := c.backsOff(c.flightKey())
	if !waits || !c.mayServeFailed(f.status, p.Now) {
		return nil
	}
	return c.servedStale(hitStatus(c.stored.remaining(p.Now), "stale-if-error", shownKey(c.ex, p.Key)))
}

// mayServeFailed reports whether the stale entry may replace a failure: for a status, within
// stale-if-error (RFC 5861, 4); for an unreachable upstream (0), also without it (RFC 9111, 4.2.4).
// A purged entry is not served.
func (c *call) mayServeFailed(status int, now time.Time) bool {
	e := c.stored
	window := max(e.StaleIfError, c.ex.Plan.Control.StaleIfErr.Value)
	if status == 0 && window == 0 {
		window = disconnectedStale
	}
	return c.ex.Plan.Forward == forwardStale && c.cache.tags.Valid(e.Marks) && rfc9111.MayServeStale(e.state(now), window)
}

// servedStale answers with the stale entry instead of a failure.
func (c *call) servedStale(status string) *http.Response {
	c.ex.Facts.Cache = factStale
	c.ex.Facts.Reason = "the upstream failed: served stale"
	return c.answer(c.stored, status)
}
