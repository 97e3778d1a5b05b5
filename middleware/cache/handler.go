package cache

import (
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// Handler answers requests of cached routes from the store if possible. All others go to next, with
// a Plan for Transport in the Exchange.
func (c *Cache) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := exchange.From(r.Context())
		if ex.Route == nil || ex.Route.Cache == nil {
			next.ServeHTTP(w, r)
			return
		}
		cc := requestControl(ex)
		if mayMix(ex, &cc) {
			r = withoutRange(ex, r)
		}
		defer c.ratios.count(ex)
		p := c.plan(ex, r, cc)
		c.dry.plans(&p)
		if p.Lookup && c.serveStored(w, r, &p) {
			return
		}
		onward := p // keeps p off the heap for hits
		ex.Plan = &onward
		next.ServeHTTP(w, r)
	})
}

// serveStored looks up the request and reports whether it answered it. Otherwise it completes the
// plan for Transport.
func (c *Cache) serveStored(w http.ResponseWriter, r *http.Request, p *exchange.Plan) bool {
	ex, cc := exchange.From(r.Context()), &p.Control
	p.Puts = c.store.puts.Load()
	found, _ := c.store.Get(r.Context(), p.Key, (*sent)(ex)) // Tiers never fails
	ex.Facts.Local = ex.Facts.Local || found.Local
	p.Forward = forwardMiss
	if e := found.Entry; e != nil {
		switch rfc9111.Reuse(cc, e.state(p.Now)) {
		case rfc9111.Serve:
			if !cc.OnlyIfCached && c.early(e, p.Now) {
				p.Forward, p.Stored, p.Tags = "", e, tagsOf(ex) // Transport refreshes e and answers with it
				return false
			}
			c.serve(w, ex, found, p)
			return true
		case rfc9111.ValidateStale:
			p.Forward = forwardStale
		case rfc9111.ValidateRequest:
			p.Forward = forwardRequest
		}
		p.Stored = e
	} else if found.Others {
		p.Forward = forwardVary
	}
	if part := c.storedPart(r.Context(), ex, p); part.Entry != nil && rfc9111.Reuse(cc, part.Entry.state(p.Now)) == rfc9111.Serve {
		if part.Entry.covers(&ex.View) {
			c.serve(w, ex, part, p)
			return true
		}
		if p.Stored == nil {
			p.Forward, p.Stored = forwardPartial, part.Entry
		}
	}
	if cc.OnlyIfCached {
		refuse(w, ex, p.Forward)
		return true
	}
	p.Tags = tagsOf(ex)
	return false
}

// serve answers from the store. It is the hot path of hits.
func (c *Cache) serve(w http.ResponseWriter, ex *exchange.Exchange, found Found, p *exchange.Plan) {
	e, now := found.Entry, ex.View.Now
	left := e.remaining(now)
	ex.Facts.Cache, ex.Facts.Tier = factHit, found.Tier
	if left <= 0 {
		ex.Facts.Cache = factStale // the request allowed it
	}
	e.Uses.add(now)
	r := c.render(ex, e, p.Key, &p.Control, now)
	e.setHeader(w.Header(), now, hitStatus(left, found.Tier, shownKey(ex, p.Key)), r)
	w.WriteHeader(r.status)
	if ex.View.Method != http.MethodHead && len(r.content) > 0 {
		_, _ = w.Write(r.content) // a client that has left gets no error
	}
}

// refuse answers an only-if-cached request that the store cannot (RFC 9111, 5.2.1.7).
func refuse(w http.ResponseWriter, ex *exchange.Exchange, why string) {
	ex.Facts.Cache = factMiss
	addStatus(w.Header(), "edge; detail="+why)
	ex.Refuse(w, "only-if-cached, and nothing usable is stored", problem.Problem{Status: http.StatusGatewayTimeout, Detail: "the request allows only a stored response, and none is usable"})
}
