package cache

import (
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// Transport wraps the proxy's transport. It carries out the Plan that Handler made, and invalidates
// what requests with unsafe methods change.
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

// pass forwards requests that do not use the cache.
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
		defer stripTags(ex, resp.Header)
		stored := post != nil && t.storePost(req.Context(), post, resp, purged)
		if encode {
			t.cache.encode(ex, resp)
		}
		addStatus(resp.Header, forwarded{why: ex.Plan.Forward, status: resp.StatusCode, stored: stored, key: shownKey(ex, ex.Plan.Key), detail: ex.Plan.Detail}.String())
	}
	return resp, nil
}

// call is one upstream request of the cache, for a client or in the background.
type call struct {
	cache   *Cache
	next    http.RoundTripper
	ex      *exchange.Exchange
	req     *http.Request
	stored  *Entry          // to be validated; nil: a miss
	part    *Entry          // a fresh part that does not cover the request; nil: none
	whole   bool            // drop the client's conditions and ranges
	again   bool            // the request was sent before
	refresh bool            // in the background, for no client
	theirs  bool            // another gateway asked, and puts the response into the shared store
	unsent  []string        // the client's fields that were not sent, as undeclared
	also    []string        // those of unsent that its responses declared
	learned map[string]bool // fields declared by responses, and so sent
	flight  string          // cached flightKey; "": not computed

	// Results of do for the requests that share the call.
	filled *Entry   // the entry of the response, perhaps still without its body; nil: not stored
	failed *failure // the upstream failed to validate stored
}

// do asks the upstream and returns the client's response.
func (c *call) do() (*http.Response, error) {
	tags := c.cache.tags
	got := head{changes: tags.changes(), marks: tags.Marks(c.ex.Plan.Tags), soft: tags.softMarks(c.ex.Plan.Tags)} // read first: a later purge invalidates the response
	out, err := c.outbound()
	if err != nil {
		return nil, err
	}
	validating := c.stored != nil && !c.stored.OwnTag && rfc9111.HasValidator(c.stored.Header)
	if validating {
		rfc9111.AddConditions(out.Header, c.stored.Header)
	}
	completing := c.completes(out)
	resp, err := c.ask(out, &got)
	if answer, ok := c.staleIfError(resp, err, got.received); ok {
		return answer, nil
	}
	if err != nil {
		return nil, err
	}
	dropInvalidStatus(resp.Header)
	got.status, got.header = resp.StatusCode, resp.Header
	if c.untold(resp.Header) { // then it may be the wrong variant for this client
		_ = resp.Body.Close()
		c.again = true
		return c.do()
	}
	switch {
	case validating && got.status == http.StatusNotModified:
		_ = resp.Body.Close() // a 304 has no content
		if rfc9111.Confirms(c.stored.Header, resp.Header) {
			return c.freshen(got), nil
		}
		return c.retry() // it confirms another response than ours: get that one
	case completing && got.status == http.StatusPartialContent:
		if answer, ok := c.completed(resp, got); ok {
			return answer, nil
		}
		fallthrough
	case completing && got.status == http.StatusRequestedRangeNotSatisfiable:
		_ = resp.Body.Close()
		return c.retry() // the range was ours, not the client's
	case c.stored != nil && c.ex.View.Method == http.MethodHead && got.status == http.StatusOK && c.ex.Plan.Store:
		c.headUpdates(got)
	}
	return c.fill(resp, got), nil
}

// ask sends a request when it is the upstream's turn for it.
func (c *call) ask(out *http.Request, got *head) (*http.Response, error) {
	leave, err := c.cache.gates.enter(out.Context(), c.ex.Route)
	defer func() { got.received = c.cache.now() }()
	if err != nil {
		return nil, err
	}
	defer leave()
	got.sent = c.cache.now()
	return c.next.RoundTrip(out)
}

// retry asks again as if nothing were stored.
func (c *call) retry() (*http.Response, error) {
	c.stored, c.part, c.again, c.flight = nil, nil, true, ""
	return c.do()
}

// outbound returns the request to send: a copy, since a RoundTripper must not change its request.
// Managed routes ask for identity, and store that.
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
