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
)

// answerAndRefresh answers with an entry that is replaced in the background: one
// that is stale and may be served so meanwhile, or one that a hit replaces early.
func (c *call) answerAndRefresh() *http.Response {
	e, p := c.stored, c.ex.Plan
	early := p.Forward == ""
	if e == nil || !early && (p.Forward != forwardStale || !rfc9111.MayServeStale(e.state(p.Now), e.StaleWhileRevalidate)) {
		return nil
	}
	switch shared := p.Shared || c.req.Header["Cookie"] == nil; {
	case !shared && !early:
		return nil // an answer to cookies may bring new ones, which a refresh would lose
	case shared && p.Store: // a request with no-store lets nothing be stored that it brings about
		c.cache.refresh(c)
	}
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
