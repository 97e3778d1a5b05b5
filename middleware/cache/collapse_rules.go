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
	// hitForMiss is how long requests go upstream alone after a response that could not be shared.
	hitForMiss = 10 * time.Second
	// varyKnown is how long the cache remembers what responses vary by.
	varyKnown = time.Hour
	// maxNotes bounds the keys of each kind of note.
	maxNotes = 4096
)

// mayJoin reports whether the call may use another call's response. Whether that is fresh enough is
// checked when it has come.
func (c *call) mayJoin() bool { return c.mayLead() && !c.ex.Plan.Control.NoCache }

// mayLead reports whether others may wait for the call's response: it is a GET without anything
// that makes the response its own: a range, content, credentials, no-store. Its conditions are not
// sent, but checked against the response.
func (c *call) mayLead() bool {
	v, p := &c.ex.View, c.ex.Plan
	return v.Method == http.MethodGet && p.Store && c.part == nil &&
		v.Header.Get("Range") == "" && v.Header.Get("Authorization") == ""
}

// shareable returns the entry for a response if others may have it: it is fresh and whole, and
// holds nothing of one client. A response that announces trailers is not shared, since trailers are
// not stored.
func (c *call) shareable(resp *http.Response) *Entry {
	e := c.filled
	if e == nil || e.partial() || e.Status == http.StatusPartialContent || len(e.Header["Set-Cookie"]) > 0 || len(resp.Trailer) > 0 ||
		rfc9111.Reuse(&rfc9111.CacheControl{}, e.state(c.cache.now())) != rfc9111.Serve {
		return nil
	}
	return e
}

// flightKey identifies the response to wait for: the resource and, as far as Vary is known, the
// variant.
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
		b = part(b, c.ex.Principal.SessionID) // the upstream sees the session
	}
	for _, name := range names {
		b = part(part(b, name), rfc9111.Selecting(name, (*sent)(c.ex).Values(name)))
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// teach remembers what a response tells about later ones.
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

// landed returns the entry that was stored between the request's look-up and its flight, if it
// answers the request.
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

// detached returns the call for a request that outlives the client's: with ctx, and with its own
// Exchange, since the client's goroutine owns the other. It asks for the whole response.
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
		ex.View.Header = h.Clone() // the client's request is still in use
	}
	req := c.req.WithContext(exchange.With(ctx, ex)) // what is sent is a copy of it; see outbound
	req.Method = ex.View.Method
	if req.Method != methodQuery {
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
	}
	return &call{cache: c.cache, next: c.next, ex: ex, req: req, stored: c.stored, whole: true, again: true, flight: c.flight}
}

// notModified evaluates the call's own conditions, which were not sent, against the response (RFC
// 9111, 4.3.2); nil: they do not hold.
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

// takeFacts copies the facts of a request made on the call's behalf.
func (c *call) takeFacts(from *exchange.Facts) {
	f := &c.ex.Facts
	f.Cache, f.NotStored, f.Target, f.Retries = from.Cache, from.NotStored, from.Target, from.Retries
	f.UpstreamTime, f.UpstreamCode = from.UpstreamTime, from.UpstreamCode
	f.Local = f.Local || from.Local
	if from.Reason != "" {
		f.Note(from.Reason)
	}
}

// notes remember one value for each of a bounded number of keys until it expires. Evicting one
// early costs requests, never correctness.
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
