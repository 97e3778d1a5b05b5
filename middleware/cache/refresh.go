package cache

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
)

const (
	// maxRefreshes bounds concurrent background refreshes; beyond it, stale responses are served
	// without one.
	maxRefreshes = 64
	// refreshTimeout bounds a background refresh as a whole.
	refreshTimeout = time.Minute
)

// answerAndRefresh answers with an entry that is refreshed in the background: one that is stale but
// may be served meanwhile, or one that a hit refreshes early.
func (c *call) answerAndRefresh() *http.Response {
	e, p := c.stored, c.ex.Plan
	early := p.Forward == ""
	if e == nil || !early && (p.Forward != forwardStale || !rfc9111.MayServeStale(e.state(p.Now), e.StaleWhileRevalidate)) {
		return nil
	}
	switch shared := p.Shared || c.req.Header["Cookie"] == nil; {
	case !shared && !early:
		return nil // a response to cookies may set new ones, which a refresh would lose
	case shared && p.Store: // a request with no-store must not cause anything to be stored
		c.cache.refresh(c)
	}
	detail := "stale-while-revalidate"
	c.ex.Facts.Cache = factStale
	if early {
		c.ex.Facts.Cache, detail = factHit, tierLocal
	}
	return c.answer(e, hitStatus(e.remaining(p.Now), detail, shownKey(c.ex, p.Key)))
}

// refresh validates the call's entry in the background, unless that is already running, failed
// recently, or too many refreshes are running.
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
	fill.refresh = true
	go func() {
		defer cancel()
		f.run(fill)
	}()
}

// early decides whether a hit refreshes its fresh entry in the background, if the entry allows that
// at all. The probability grows as the remaining lifetime shrinks relative to the cost of the last
// fill, so that a hot entry is replaced before it goes stale and a cold one costs nothing (XFetch
// with beta 1; Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention,
// 2015). Entries that another gateway filled are left to that gateway.
func (c *Cache) early(e *Entry, now time.Time) bool {
	left := e.remaining(now)
	if e.StaleWhileRevalidate <= 0 || e.Cost <= 0 || left <= 0 || e.partial() || left > 40*e.Cost { // beyond 40 nearly impossible
		return false
	}
	return -math.Log(1-c.random())*float64(e.Cost) >= float64(left)
}
