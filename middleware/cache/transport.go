package cache

import (
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// disconnectedStale is for how long a stale response is served while the
// upstream cannot be reached, where neither policy nor origin set a time and
// the origin does not forbid it (RFC 9111, 4.2.4).
const disconnectedStale = time.Hour

// Transport wraps the proxy's transport: it carries out the Plan that Handler
// made, and invalidates what requests with unsafe methods change.
func (c *Cache) Transport(next http.RoundTripper) http.RoundTripper { return &transport{c, next} }

type transport struct {
	cache *Cache
	next  http.RoundTripper
}

// RoundTrip answers a rewritten request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ex := exchange.From(req.Context())
	p := ex.Plan
	if p == nil || !p.Lookup {
		return t.pass(ex, req)
	}
	call := &call{cache: t.cache, next: t.next, ex: ex, req: req}
	call.stored, _ = p.Stored.(*Entry)
	if e := call.stored; e != nil && p.Forward == forwardStale && rfc9111.MayServeStale(e.state(p.Now), e.StaleWhileRevalidate) {
		t.cache.refresh(call)
		ex.Facts.Cache = factStale
		return call.answer(e, hitStatus(e.remaining(p.Now), "stale-while-revalidate")), nil
	}
	return call.do()
}

// pass sends on what the cache has no part in.
func (t *transport) pass(ex *exchange.Exchange, req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	t.cache.invalidate(req.Context(), ex, resp)
	if ex.Plan != nil {
		ex.Facts.Cache = factBypass
		addStatus(resp.Header, forwarded{why: ex.Plan.Forward, status: resp.StatusCode}.String())
	}
	return resp, nil
}

// call is one request that goes upstream for the cache, for a client or in the
// background.
type call struct {
	cache  *Cache
	next   http.RoundTripper
	ex     *exchange.Exchange
	req    *http.Request
	stored *Entry // to be validated; nil: a miss
	whole  bool   // asks without the client's conditions
}

// do asks the upstream and gives what the client gets. Collapsing of misses
// will stand here: everything that a fill needs is in the call.
func (c *call) do() (*http.Response, error) {
	marks := c.cache.tags.Marks(c.ex.Plan.Tags) // before the upstream is asked: a purge from now on outdates the answer
	out := c.outbound()
	validating := c.stored != nil && rfc9111.HasValidator(c.stored.Header)
	if validating {
		rfc9111.AddConditions(out.Header, c.stored.Header)
	}
	sent := c.cache.now()
	resp, err := c.next.RoundTrip(out)
	received := c.cache.now()
	if c.stored != nil {
		if answer, ok := c.staleIfError(resp, err, received); ok {
			return answer, nil
		}
	}
	if err != nil {
		return nil, err
	}
	got := head{status: resp.StatusCode, header: resp.Header, sent: sent, received: received, marks: marks}
	if validating && resp.StatusCode == http.StatusNotModified {
		_ = resp.Body.Close() // a 304 has none
		if rfc9111.Confirms(c.stored.Header, resp.Header) {
			return c.freshen(got), nil
		}
		c.stored = nil // it speaks of another response than ours: ask for that one
		return c.do()
	}
	return c.fill(resp, got), nil
}

// outbound returns the request as it is sent: a copy, since a RoundTripper must
// not change its request. A managed route asks for the coding that is keyed.
func (c *call) outbound() *http.Request {
	out := c.req.Clone(c.req.Context())
	if c.whole {
		rfc9111.RemoveConditions(out.Header)
	}
	if !c.ex.Route.Cache.Strict {
		out.Header["Accept-Encoding"] = managedEncoding(c.ex.View.Header)
	}
	return out
}

// staleIfError gives the stale entry instead of a failure where that is allowed:
// for a 5xx within stale-if-error (RFC 5861, 4), for an upstream that cannot be
// reached also without it (RFC 9111, 4.2.4).
func (c *call) staleIfError(resp *http.Response, err error, now time.Time) (*http.Response, bool) {
	e, status, window := c.stored, 0, c.stored.StaleIfError
	switch {
	case c.ex.Plan.Forward != forwardStale || c.req.Context().Err() != nil:
		return nil, false
	case err == nil && !rfc9111.FailedStatus(resp.StatusCode):
		return nil, false
	case err == nil:
		status = resp.StatusCode
	case window == 0:
		window = disconnectedStale
	}
	if !rfc9111.MayServeStale(e.state(now), window) {
		return nil, false
	}
	if err == nil {
		_ = resp.Body.Close() // its answer is not wanted, and waiting for it neither
	}
	c.ex.Facts.Cache = factStale
	c.ex.Facts.Reason = "the upstream failed: served stale"
	return c.answer(e, forwarded{why: forwardStale, status: status, detail: "stale-if-error"}.String()), true
}
