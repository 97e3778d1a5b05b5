package cache

import (
	"net/http"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// freshen merges a 304 into the stored response (RFC 9111, 4.3.4), stores that
// and answers with it. Cookies in a 304 are for its client alone.
func (c *call) freshen(got head) *http.Response {
	cc := rfc9111.ParseCacheControl(got.header["Cache-Control"])
	update := rfc9111.StoredHeader(got.header, &cc, c.ex.Plan.Shared)
	cookies := update["Set-Cookie"]
	if !c.ex.Snapshot.Policy.Cache.StoreSetCookie {
		delete(update, "Set-Cookie")
	}
	delete(update, statusField) // tells how the 304 came about, not the response
	if update.Get("Date") == "" {
		update.Set("Date", got.received.UTC().Format(http.TimeFormat))
	}
	got.status, got.header = c.stored.Status, withAge(rfc9111.Freshen(c.stored.Header, update), got.header)
	var e *Entry
	if c.ex.Plan.Store {
		e = c.admit(got)
	}
	stored := e != nil
	if stored {
		e.Body = c.stored.Body
		c.cache.put(c.req.Context(), c.ex.Plan.Key, e)
	} else {
		delete(got.header, "Age")
		e = &Entry{Status: got.status, Header: got.header, Body: c.stored.Body, Received: got.received}
	}
	c.ex.Facts.Cache = factRevalidated
	resp := c.answer(e, forwarded{why: c.ex.Plan.Forward, status: http.StatusNotModified, stored: stored}.String())
	if len(cookies) > 0 {
		resp.Header["Set-Cookie"] = cookies
	}
	return resp
}

// withAge gives h the Age of the response that updated it.
func withAge(h, update http.Header) http.Header {
	if age, ok := update["Age"]; ok {
		h["Age"] = age
	}
	return h
}
