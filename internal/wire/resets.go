package wire

import (
	"net/http"
	"sync"
	"time"
)

// A client of HTTP/2 may cancel requests, as browsers do when a page is left, but not so many that they are
// an attack (CVE-2023-44487): net/http starts each of them, and they cost the client nothing.
const (
	resetsAtOnce   = 200
	resetsASecond  = 20
	resetsInterval = time.Second / resetsASecond
)

// Resets ends HTTP/2 connections whose clients cancel more requests than that.
type Resets struct {
	Now func() time.Time
	// Many reports whether a peer carries many clients on one connection, as a proxy does. Their requests are
	// not counted.
	Many func(remote string) bool
}

// resets counts those of a connection, as GCRA does: full is when it may cancel resetsAtOnce again.
type resets struct {
	mu   sync.Mutex
	full time.Time // guarded by mu
}

// count counts a request of HTTP/2 that is over, if its client has cancelled it.
func (r Resets) count(c *checkedConn, req *http.Request) {
	if req.Context().Err() == nil || r.Many(req.RemoteAddr) || !c.resets.tooMany(r.Now()) {
		return
	}
	if c.secure != nil {
		_ = c.secure.NetConn().Close() // sends nothing, and so never waits; it ends either way
	}
	_ = c.Close() // as above
}

// tooMany counts one.
func (c *resets) tooMany(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full.Before(now) {
		c.full = now
	}
	c.full = c.full.Add(resetsInterval)
	return c.full.Sub(now) > resetsAtOnce*resetsInterval
}
