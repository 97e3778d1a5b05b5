package cache

import (
	"context"
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// post is a POST whose response may answer later GETs (RFC 9110, 9.3.3).
type post struct {
	head
	ex *exchange.Exchange // rewritten as for a GET of the same URI
}

// beginPost prepares to store the response to a POST. It returns nil if that is impossible: outside
// strict mode, and if the request identifies its client, since it is sent upstream unchanged.
func (t *transport) beginPost(ex *exchange.Exchange) *post {
	v := ex.View
	if ex.Plan == nil || v.Method != http.MethodPost || !ex.Route.Cache.Strict || ex.Route.Cache.Private() || ex.Route.SessionSignal ||
		!ex.Principal.Anonymous() || len(v.Header.Values("Cookie")) > 0 || bypassed(ex) != "" || ex.Plan.Control.NoStore || ex.Route.Cache.Query.Apply(v.Query) != v.Query {
		return nil
	}
	v.Method = http.MethodGet
	if route, _ := ex.Snapshot.Match(&v); route != ex.Route {
		return nil // another route serves GETs of the URI
	}
	as := *ex
	as.View = v
	plan := exchange.Plan{Now: v.Now, Query: v.Query, Store: true, Shared: true, Control: ex.Plan.Control, Forward: forwardMethod, Tags: tagsOf(ex)}
	plan.Key = key(&as, keyed{query: v.Query})
	as.Plan = &plan
	return &post{ex: &as, head: head{changes: t.cache.tags.changes(), sent: t.cache.now()}}
}

// storePost stores the response to a POST, after the purge of what was stored before. It stores
// nothing if there was any other purge meanwhile.
func (t *transport) storePost(ctx context.Context, p *post, resp *http.Response, purged []string) bool {
	c := &call{cache: t.cache, ex: p.ex, req: resp.Request.WithContext(ctx)}
	p.status, p.header, p.received = resp.StatusCode, resp.Header, t.cache.now()
	cc := responseControl(resp.Header)
	_, source := rfc9111.Lifetime(resp.StatusCode, resp.Header, &cc, p.received, true)
	if !rfc9111.StorablePost(requestURL(p.ex), resp.StatusCode, resp.Header, source) {
		return false
	}
	p.marks, p.soft = t.cache.tags.Marks(p.ex.Plan.Tags), t.cache.tags.softMarks(p.ex.Plan.Tags)
	if p.changes += uint64(len(purged)); p.changes != t.cache.tags.changes() {
		return false
	}
	return c.record(resp, p.head) == rfc9111.Accepted
}
