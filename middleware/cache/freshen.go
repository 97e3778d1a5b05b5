package cache

import (
	"net/http"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// freshen merges a 304 into the stored response (RFC 9111, 4.3.4), stores that
// and answers with it. Cookies in a 304 are for its client alone.
func (c *call) freshen(a answer) *http.Response {
	cc := rfc9111.ParseCacheControl(a.header["Cache-Control"])
	update := rfc9111.StoredHeader(a.header, &cc, c.ex.Plan.Shared)
	cookies := update["Set-Cookie"]
	if !c.ex.Snapshot.Policy.Cache.StoreSetCookie {
		delete(update, "Set-Cookie")
	}
	delete(update, statusField) // tells how the 304 came about, not the response
	if update.Get("Date") == "" {
		update.Set("Date", a.received.UTC().Format(http.TimeFormat))
	}
	a.status, a.header = c.stored.Status, withAge(rfc9111.Freshen(c.stored.Header, update), a.header)
	var e *Entry
	if c.ex.Plan.Store {
		e = c.admit(a)
	}
	stored := e != nil
	if stored {
		e.Body = c.stored.Body
		c.cache.put(c.req.Context(), c.ex.Plan.Key, e)
	} else {
		delete(a.header, "Age")
		e = &Entry{Status: a.status, Header: a.header, Body: c.stored.Body, Received: a.received}
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
