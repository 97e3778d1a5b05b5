package cache

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
)

// refreshTimeout bounds a refresh in the background as a whole.
const refreshTimeout = time.Minute

// refresh validates the call's stale entry in the background, at most once a key
// at a time. The client's request and its context are not touched any more: a
// refresh has an Exchange and a context of its own.
func (c *Cache) refresh(from *call) {
	key := from.ex.Plan.Key
	if !c.begin(key) {
		return
	}
	p := *from.ex.Plan
	p.Store = true // from a HEAD, too: it is a GET that goes out
	ex := &exchange.Exchange{
		View: from.ex.View, Snapshot: from.ex.Snapshot, Route: from.ex.Route, Params: from.ex.Params,
		Principal: from.ex.Principal, Plan: &p, RequestID: from.ex.RequestID,
	}
	p.Now = c.now()
	if ex.View.Method == http.MethodHead {
		ex.View.Method = http.MethodGet
	}
	ex.View.Now = p.Now
	if h, ok := ex.View.Header.(http.Header); ok {
		ex.View.Header = h.Clone() // the client's request goes on meanwhile
	}
	ctx, cancel := context.WithTimeout(exchange.With(c.life, ex), refreshTimeout)
	req := from.req.Clone(ctx)
	req.Method = ex.View.Method
	if req.Method != methodQuery {
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
	}
	background := &call{cache: c, next: from.next, ex: ex, req: req, stored: from.stored, whole: true, again: true}
	go func() {
		defer c.end(key)
		defer cancel()
		resp, err := background.do()
		if err != nil {
			return // the stale entry stays, and the next request tries again
		}
		_, _ = io.Copy(io.Discard, resp.Body) // the recorder commits at the end
		_ = resp.Body.Close()
	}()
}

// begin takes the refresh of a key on, unless someone has it or there are too
// many.
func (c *Cache) begin(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, busy := c.refreshing[key]; busy || c.closed || len(c.refreshing) >= maxRefreshes {
		return false
	}
	c.refreshing[key] = struct{}{}
	c.tasks.Add(1)
	return true
}

func (c *Cache) end(key string) {
	c.mu.Lock()
	delete(c.refreshing, key)
	c.mu.Unlock()
	c.tasks.Done()
}
