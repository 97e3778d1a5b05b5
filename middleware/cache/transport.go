package cache

import (
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

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
	if call.stored, _ = p.Stored.(*Entry); call.stored != nil && call.stored.partial() {
		call.stored, call.part = nil, call.stored
	}
	if resp := call.answerAndRefresh(); resp != nil {
		return resp, nil
	}
	if resp := call.answerInBackoff(); resp != nil {
		return resp, nil
	}
	resp, err := call.collapse()
	if err == nil {
		t.cache.encode(ex, resp)
	}
	return resp, err
}

// pass sends on what the cache has no part in.
func (t *transport) pass(ex *exchange.Exchange, req *http.Request) (*http.Response, error) {
	post := t.beginPost(ex)
	encode := ex.Plan != nil && ex.Route.Cache.Encode
	if encode {
		req = askIdentity(req)
	}
	resp, err := t.send(ex, req)
	if err != nil {
		return nil, err
	}
	dropInvalidStatus(resp.Header)
	purged := t.cache.invalidate(req.Context(), ex, resp)
	if ex.Plan != nil {
		ex.Facts.Cache = factBypass
		stored := post != nil && t.storePost(req.Context(), post, resp, purged)
		if encode {
			t.cache.encode(ex, resp)
		}
		addStatus(resp.Header, forwarded{why: ex.Plan.Forward, status: resp.StatusCode, stored: stored, key: shownKey(ex, ex.Plan.Key), detail: ex.Plan.Detail}.String())
	}
	return resp, nil
}

// call is one request that goes upstream for the cache, for a client or in the
// background.
type call struct {
	cache   *Cache
	next    http.RoundTripper
	ex      *exchange.Exchange
	req     *http.Request
	stored  *Entry          // to be validated; nil: a miss
	part    *Entry          // fresh, and not enough; nil: none
	whole   bool            // asks without the client's conditions and ranges
	again   bool            // the request was sent before
	unsent  []string        // the client's fields that were not sent, since nothing declares them
	also    []string        // those of them that its responses declared
	learned map[string]bool // fields that were sent since responses declared them
	flight  string          // what flightKey gave; "": not asked yet

	// What do finds out for those who wait with the call.
	filled *Entry   // what the answer is stored as, its body still to come or not; nil: it is not
	failed *failure // the upstream failed to validate stored
}

// do asks the upstream and gives what the client gets.
func (c *call) do() (*http.Response, error) {
	tags := c.cache.tags
	got := head{changes: tags.changes(), marks: tags.Marks(c.ex.Plan.Tags)} // before the upstream is asked: a purge from now on outdates the answer
	out, err := c.outbound()
	if err != nil {
		return nil, err
	}
	validating := c.stored != nil && !c.stored.OwnTag && rfc9111.HasValidator(c.stored.Header)
	if validating {
		rfc9111.AddConditions(out.Header, c.stored.Header)
	}
	completing := c.completes(out)
	got.sent = c.cache.now()
	resp, err := c.next.RoundTrip(out)
	got.received = c.cache.now()
	if answer, ok := c.staleIfError(resp, err, got.received); ok {
		return answer, nil
	}
	if err != nil {
		return nil, err
	}
	dropInvalidStatus(resp.Header)
	got.status, got.header = resp.StatusCode, resp.Header
	if c.untold(resp.Header) { // then it may not be what this client is to get
		_ = resp.Body.Close()
		c.again = true
		return c.do()
	}
	switch {
	case validating && got.status == http.StatusNotModified:
		_ = resp.Body.Close() // a 304 has none
		if rfc9111.Confirms(c.stored.Header, resp.Header) {
			return c.freshen(got), nil
		}
		return c.retry() // it speaks of another response than ours: ask for that one
	case completing && got.status == http.StatusPartialContent:
		if answer, ok := c.completed(resp, got); ok {
			return answer, nil
		}
		fallthrough
	case completing && got.status == http.StatusRequestedRangeNotSatisfiable:
		_ = resp.Body.Close()
		return c.retry() // a range was our idea, not the client's
	case c.stored != nil && c.ex.View.Method == http.MethodHead && got.status == http.StatusOK && c.ex.Plan.Store:
		c.headUpdates(got)
	}
	return c.fill(resp, got), nil
}

// retry asks again as if nothing were stored.
func (c *call) retry() (*http.Response, error) {
	c.stored, c.part, c.again, c.flight = nil, nil, true, ""
	return c.do()
}

// outbound returns the request as it is sent: a copy, since a RoundTripper must
// not change its request. A managed route asks for identity, and stores that.
func (c *call) outbound() (*http.Request, error) {
	out := c.req.Clone(c.req.Context())
	if c.whole {
		rfc9111.RemoveConditions(out.Header)
		delete(out.Header, "Range")
	}
	c.build(out.Header)
	if !c.ex.Route.Cache.Strict {
		out.Header["Accept-Encoding"] = acceptIdentity
	}
	if c.again && c.req.GetBody != nil { // the content of a QUERY
		body, err := c.req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	return out, nil
}
