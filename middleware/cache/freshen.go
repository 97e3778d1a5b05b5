package cache

import (
	"net/http"
	"strconv"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// freshen merges a 304 into the stored response (RFC 9111, 4.3.4), stores the result and answers
// with it. Cookies in a 304 are for its client only.
func (c *call) freshen(got head) *http.Response {
	cookies := got.header["Set-Cookie"]
	e, stored := c.updateStored(got)
	c.ex.Facts.Cache = factRevalidated
	status := forwarded{why: c.ex.Plan.Forward, status: http.StatusNotModified, stored: stored, key: shownKey(c.ex, c.ex.Plan.Key)}
	resp := c.answer(e, status.String())
	if len(cookies) > 0 {
		resp.Header["Set-Cookie"] = cookies
	}
	return resp
}

// headUpdates lets the 200 to a HEAD update the stored response to a GET, or make it stale (RFC
// 9111, 4.3.5). Without an upstream validator, a managed route ignores a match: the same length is
// no reason to renew a lifetime.
func (c *call) headUpdates(got head) {
	old := c.stored
	if old.Status != http.StatusOK {
		return
	}
	origin := old.origin()
	switch {
	case !rfc9111.HeadConfirms(origin, got.header, strconv.Itoa(len(old.Body))):
		c.outdate(got.received)
	case c.ex.Route.Cache.Strict || rfc9111.HasValidator(origin):
		_, _ = c.updateStored(got)
	}
}

// updateStored returns the stored response updated by the head of a 304 or of the 200 to a HEAD
// (RFC 9111, 3.2), and whether the result was stored.
func (c *call) updateStored(got head) (e *Entry, stored bool) {
	cc := responseControl(got.header)
	update := rfc9111.StoredHeader(got.header, &cc, c.ex.Plan.Shared)
	if !c.ex.Snapshot.Policy.Cache.StoreSetCookie {
		delete(update, "Set-Cookie")
	}
	delete(update, statusField) // describes the update, not the stored response
	got.tags = c.stored.Tags
	got.date(update)
	got.status, got.header = c.stored.Status, withAge(rfc9111.Freshen(c.stored.origin(), update), got.header)
	if c.ex.Plan.Store {
		e, refusal := c.admit(got)
		if e != nil {
			e.Body, e.Codings = c.stored.Body, c.stored.Codings
			c.put(c.req.Context(), e)
			c.filled = e
			return e, true
		}
		// Is it the update that forbids storing it, and so the further use of the stored response? Not
		// if the reason is a purge meanwhile, or this request, which others did not send (RFC 9111, 3.5).
		if refusal != refusedPurged && len(c.ex.View.Header.Values("Authorization")) == 0 {
			c.outdate(got.received)
		}
	}
	delete(got.header, "Age")
	stripTags(c.ex, got.header)
	return &Entry{Status: got.status, Header: got.header, Body: c.stored.Body, Received: got.received}, false
}

// withAge sets h's Age to that of the response that updated it.
func withAge(h, update http.Header) http.Header {
	if age, ok := update["Age"]; ok {
		h["Age"] = age
	}
	return h
}

// outdate makes the stored response stale: it must be validated before its next use.
func (c *call) outdate(now time.Time) {
	e := c.stored.stale(now)
	e.NeverStale = true
	c.put(c.req.Context(), e)
}
