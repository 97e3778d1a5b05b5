package cache

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/bounded"
	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

const (
	// hitForMiss is for how long requests go upstream without waiting for one
	// another after a response that was not for all.
	hitForMiss = 10 * time.Second
	// varyKnown is for how long it is remembered by what responses vary.
	varyKnown = time.Hour
	// maxNotes bounds the keys of each kind of note.
	maxNotes = 4096
)

// mayJoin reports whether the call may get the answer to another. Whether that
// answer is fresh enough for it is judged when it is there.
func (c *call) mayJoin() bool { return c.mayLead() && !c.ex.Plan.Control.NoCache }

// mayLead reports whether others may wait for the call's answer: it is a GET
// without what makes an answer its own, a range, content, credentials, no-store.
// Its conditions are not sent, but held against what comes.
func (c *call) mayLead() bool {
	v, p := &c.ex.View, c.ex.Plan
	return v.Method == http.MethodGet && p.Store && c.part == nil &&
		v.Header.Get("Range") == "" && v.Header.Get("Authorization") == ""
}

// shareable returns the entry that a response is stored as, if others may have
// it too: it is fresh, whole, and holds nothing of one client. A response that
// announces trailers is its client's, since they are not stored.
func (c *call) shareable(resp *http.Response) *Entry {
	e := c.filled
	if e == nil || e.partial() || e.Status == http.StatusPartialContent || len(e.Header["Set-Cookie"]) > 0 || len(resp.Trailer) > 0 ||
		rfc9111.Reuse(&rfc9111.CacheControl{}, e.state(c.cache.now())) != rfc9111.Serve {
		return nil
	}
	return e
}

// flightKey identifies what is worth waiting for: the resource, and the variant
// as far as it is known by what responses vary.
func (c *call) flightKey() string {
	if c.flight == "" {
		c.flight = c.newFlightKey()
	}
	return c.flight
}

func (c *call) newFlightKey() string {
	p := c.ex.Plan
	names, _ := c.cache.varies.get(p.Key, p.Now)
	if c.stored != nil {
		names = c.stored.Vary
	}
	if len(names) == 0 && p.Shared {
		return p.Key
	}
	b := part(nil, p.Key)
	if !p.Shared {
		b = part(b, c.ex.Principal.SessionID) // the upstream is told who asks
	}
	for _, name := range names {
		b = part(part(b, name), rfc9111.Selecting(name, (*sent)(c.ex).Values(name)))
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// teach remembers what an answer says of those to come.
func (c *call) teach(resp *http.Response) {
	t, now := c.cache, c.cache.now()
	if e := c.filled; e != nil && len(e.Vary) > 0 {
		t.varies.put(c.ex.Plan.Key, e.Vary, now.Add(varyKnown))
		c.flight = ""
	}
	if c.shareable(resp) != nil {
		t.alone.Delete(c.flightKey())
	}
}

// landed returns what was stored between the request's look-up and its flight,
// if that answers it.
func (c *call) landed() *Entry {
	p := c.ex.Plan
	if c.cache.store.puts.Load() == p.Puts {
		return nil
	}
	found := c.cache.store.inMemory(c.req.Context(), p.Key, (*sent)(c.ex))
	if found.Entry == nil || found.Entry == c.stored {
		return nil
	}
	if rfc9111.Reuse(&p.Control, found.Entry.state(p.Now)) != rfc9111.Serve {
		return nil
	}
	return found.Entry
}

// detached returns the call for a request that does not end with the client's:
// with ctx, and an Exchange of its own, since the client's belongs to its
// goroutine. It asks for the whole response.
func (c *call) detached(ctx context.Context) *call {
	p := *c.ex.Plan
	p.Now = c.cache.now()
	ex := &exchange.Exchange{
		View: c.ex.View, Snapshot: c.ex.Snapshot, Route: c.ex.Route, Params: c.ex.Params,
		Principal: c.ex.Principal, Plan: &p, RequestID: c.ex.RequestID,
	}
	if ex.View.Method == http.MethodHead {
		ex.View.Method = http.MethodGet
	}
	ex.View.Now = p.Now
	if h, ok := ex.View.Header.(http.Header); ok {
		ex.View.Header = h.Clone() // the client's request goes on meanwhile
	}
	req := c.req.Clone(exchange.With(ctx, ex))
	req.Method = ex.View.Method
	if req.Method != methodQuery {
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
	}
	return &call{cache: c.cache, next: c.next, ex: ex, req: req, stored: c.stored, whole: true, again: true, flight: c.flight}
}

// notModified answers the call's own conditions, which were not sent, from what
// came (RFC 9111, 4.3.2); nil: they do not hold.
func (c *call) notModified(resp *http.Response) *http.Response {
	if !rfc9111.NotModified(c.ex.View.Header, resp.StatusCode, resp.Header, c.cache.now()) {
		return nil
	}
	short := *resp
	short.StatusCode, short.Body, short.ContentLength, short.Trailer = http.StatusNotModified, http.NoBody, 0, nil
	short.Header = maps.Clone(resp.Header)
	if c.ex.Route.Cache.Encode && encodable(resp.StatusCode, resp.Header) {
		rfc9111.AddVary(short.Header, "Accept-Encoding")
	}
	maps.DeleteFunc(short.Header, func(name string, _ []string) bool { return rfc9111.OmitFrom304(name) })
	return &short
}

// takeFacts takes over what a request on the call's behalf found out.
func (c *call) takeFacts(from *exchange.Facts) {
	f := &c.ex.Facts
	f.Cache, f.NotStored, f.Target, f.Retries = from.Cache, from.NotStored, from.Target, from.Retries
	f.UpstreamTime, f.UpstreamCode = from.UpstreamTime, from.UpstreamCode
	f.Local = f.Local || from.Local
	if from.Reason != "" {
		f.Note(from.Reason)
	}
}

// notes remember one thing of each of a bounded number of keys, until its time.
// What is forgotten early costs requests, never answers.
type notes[V any] struct {
	bounded.Map[string, note[V]]
}

type note[V any] struct {
	value V
	until time.Time
}

func newNotes[V any]() notes[V] {
	return notes[V]{bounded.Map[string, note[V]]{Limit: maxNotes}}
}

func (n *notes[V]) get(key string, now time.Time) (value V, ok bool) {
	got, ok := n.Get(key)
	if !ok || !now.Before(got.until) {
		return value, false
	}
	return got.value, true
}

func (n *notes[V]) put(key string, value V, until time.Time) { n.Put(key, note[V]{value, until}) }
