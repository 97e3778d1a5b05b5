package cache

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
)

const (
	// maxRefreshes bounds the refreshes in the background at a time; above it,
	// stale responses are served without one.
	maxRefreshes = 64
	// refreshTimeout bounds a refresh in the background as a whole.
	refreshTimeout = time.Minute
	// An upstream that fails to validate an entry is asked again after
	// firstBackoff, then after twice as long each time, up to maxBackoff.
	firstBackoff, maxBackoff = time.Second, 30 * time.Second
)

// refreshed answers with an entry that is replaced in the background: one that is
// stale and may be served so meanwhile, or one that a hit replaces early.
func (c *call) refreshed() *http.Response {
	e, p := c.stored, c.ex.Plan
	early := p.Forward == ""
	if e == nil || !early && (p.Forward != forwardStale || !rfc9111.MayServeStale(e.state(p.Now), e.StaleWhileRevalidate)) {
		return nil
	}
	c.cache.refresh(c)
	detail := "stale-while-revalidate"
	c.ex.Facts.Cache = factStale
	if early {
		c.ex.Facts.Cache, detail = factHit, tierLocal
	}
	return c.answer(e, hitStatus(e.remaining(p.Now), detail, shownKey(c.ex, p.Key)))
}

// refresh validates the call's entry in the background, unless that is under
// way, failed a moment ago, or too much else is.
func (c *Cache) refresh(from *call) {
	key := from.flightKey()
	if _, waits := from.backsOff(key); waits {
		return
	}
	marks := c.tags.Marks(from.ex.Plan.Tags)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[key] != nil || c.closed || c.refreshes >= maxRefreshes {
		return
	}
	c.refreshes++
	f := c.departLocked(key, marks)
	f.unattended = true
	ctx, cancel := context.WithTimeout(f.bounded(context.Background()), refreshTimeout)
	fill := from.detached(ctx)
	go func() {
		defer cancel()
		f.run(fill)
	}()
}

// early decides whether a hit refreshes its fresh entry in the background, where
// the entry may be refreshed there at all: the likelier the nearer its end is, in
// units of what the last fill took, so that a hot entry is replaced before it
// goes stale and a cold one costs nothing (XFetch with beta 1; Vattani,
// Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention,
// 2015). Entries that another gateway filled are left to that.
func (c *Cache) early(e *Entry, now time.Time) bool {
	left := e.remaining(now)
	if e.StaleWhileRevalidate <= 0 || e.Cost <= 0 || left <= 0 || e.partial() || left > 40*e.Cost { // 40: nearly impossible beyond
		return false
	}
	return -math.Log(1-c.random())*float64(e.Cost) >= float64(left)
}

// failure is what is known of an upstream that failed to validate an entry.
type failure struct {
	status int       // 0: it could not be reached
	times  int       // in a row
	retry  time.Time // when it is asked again
}

// noteOutcome remembers whether the upstream failed to validate the entry that
// the call has; status as in failure.
func (c *call) noteOutcome(failed bool, status int, now time.Time) {
	failing := &c.cache.failing
	key := c.flightKey()
	last, known := failing.get(key, now)
	if !failed && known {
		failing.drop(key)
	}
	if !failed || c.stored == nil {
		return
	}
	wait := min(firstBackoff<<min(last.times, 8), maxBackoff)
	c.failed = &failure{status: status, times: last.times + 1, retry: now.Add(wait)}
	failing.put(key, *c.failed, c.failed.retry.Add(maxBackoff)) // a failure right after the pause is one more in a row
}

// backsOff reports whether the upstream is to be left alone for now.
func (c *call) backsOff(key string) (failure, bool) {
	f, _ := c.cache.failing.get(key, c.ex.Plan.Now)
	return f, c.ex.Plan.Now.Before(f.retry)
}

// spared answers with the stale entry without asking an upstream that has just
// failed, where a failure would have given the same.
func (c *call) spared() *http.Response {
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

// mayServeFailed reports whether the stale entry may be served in place of a
// failure: for a status within stale-if-error (RFC 5861, 4), for an upstream that
// cannot be reached (0) also without it (RFC 9111, 4.2.4).
func (c *call) mayServeFailed(status int, now time.Time) bool {
	e := c.stored
	window := max(e.StaleIfError, requestControl(c.ex).StaleIfErr.Value)
	if status == 0 && window == 0 {
		window = disconnectedStale
	}
	return c.ex.Plan.Forward == forwardStale && rfc9111.MayServeStale(e.state(now), window)
}

// servedStale answers with the stale entry in place of a failure.
func (c *call) servedStale(status string) *http.Response {
	c.ex.Facts.Cache = factStale
	c.ex.Facts.Reason = "the upstream failed: served stale"
	return c.answer(c.stored, status)
}
