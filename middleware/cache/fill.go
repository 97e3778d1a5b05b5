package cache

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

const (
	// MaxKeep bounds the life of every entry. The shared generations of tags
	// (Counters) must outlive it, or a purge would be forgotten before what it
	// purged.
	MaxKeep = 14 * 24 * time.Hour
)

// head is a response's head as the upstream gave it.
type head struct {
	status         int
	header         http.Header
	sent, received time.Time // the request, the response
	marks          []Mark    // of the request's tags, before it was sent
	changes        uint64    // Tags.changes then
}

// date gives what is stored of the response a Date where it has none (RFC 9110,
// 6.6.1).
func (got head) date(h http.Header) {
	if h.Get("Date") == "" {
		h.Set("Date", got.received.UTC().Format(http.TimeFormat))
	}
}

// gatewayFields are different in each request that goes upstream, where no look-up
// sees them: a response that they select answers nobody else.
var gatewayFields = []string{"X-Forwarded-For", "X-Request-Id"}

// The cache's own reasons not to store a response, beside the standard's.
const (
	refusedCookie  rfc9111.Refusal = "set-cookie"
	refusedStream  rfc9111.Refusal = "stream"    // endless
	refusedRange   rfc9111.Refusal = "range"     // a part of what, nobody knows
	refusedPolicy  rfc9111.Refusal = "policy"    // by statuses or ttl
	refusedLarge   rfc9111.Refusal = "too-large" // by cache.max_object
	refusedLength  rfc9111.Refusal = "no-length" // its end cannot be told from a broken connection
	refusedPurged  rfc9111.Refusal = "purged"    // meanwhile
	refusedFailure rfc9111.Refusal = "failure"   // what is stored is better
)

// admit decides whether a response is stored and returns its entry, without the
// body, or why not.
func (c *call) admit(got head) (*Entry, rfc9111.Refusal) {
	rule, shared := c.ex.Route.Cache, c.ex.Plan.Shared
	cc := responseControl(got.header)
	cookie := len(got.header["Set-Cookie"]) > 0
	switch {
	case cookie && !c.ex.Snapshot.Policy.Cache.StoreSetCookie:
		return nil, refusedCookie
	case endless(mediaType(got.header)):
		return nil, refusedStream
	case c.ofUnknownRange(got):
		return nil, refusedRange
	}
	lifetime, source := rfc9111.Lifetime(got.status, got.header, &cc, got.received, shared)
	initial := rfc9111.InitialAge(got.header, got.sent, got.received)
	e := &Entry{
		Status: got.status, Marks: got.marks, Received: got.received, InitialAge: initial, Fresh: lifetime - initial,
		StaleWhileRevalidate: cc.StaleWhileRevalidate.Value, StaleIfError: cc.StaleIfErr.Value, Cost: got.received.Sub(got.sent),
	}
	if !rule.Strict {
		ttl, never := c.managedTTL(got.status, source)
		if never {
			return nil, refusedPolicy
		}
		if ttl > 0 && !cookie {
			lifetime, source, e.Fresh = ttl, rfc9111.Explicit, ttl
			cc.NoCache = false // of what may be stored at all, the lifetime at this edge is the policy's
		}
		e.StaleWhileRevalidate = orElse(rule.StaleWhileRevalidate, e.StaleWhileRevalidate)
		e.StaleIfError = orElse(rule.StaleIfError, e.StaleIfError)
	}
	refusal := rfc9111.Storable(rfc9111.Candidate{
		Status: got.status, Header: got.header, Response: &cc, Request: &c.ex.Plan.Control, Shared: shared, Lifetime: source,
		Authorized: len(c.ex.View.Header.Values("Authorization")) > 0,
		Window:     lifetime + e.StaleWhileRevalidate,
	})
	ours := func(name string) bool {
		return slices.Contains(gatewayFields, name) || slices.Contains(c.unsent, name)
	}
	if refusal != rfc9111.Accepted {
		return nil, refusal
	}
	if slices.ContainsFunc(rfc9111.VaryNames(got.header), ours) {
		return nil, rfc9111.RefusedVary
	}
	e.NoCache = cc.NoCache
	e.NeverStale = rfc9111.ForbidsStale(&cc, shared) || got.status >= 500 // one failure is no better than another
	c.prepare(e, got, &cc)
	e.Keep = min(max(0, e.Fresh)+c.usable(e), MaxKeep)
	if !c.group(e, got) {
		return nil, refusedPurged
	}
	c.declare(e)
	return e, rfc9111.Accepted
}

// usable is how long past its freshness an entry may be of use: served stale, for
// whatever reason, or validated.
func (c *call) usable(e *Entry) (past time.Duration) {
	if rfc9111.HasValidator(e.Header) {
		past = c.ex.Snapshot.Policy.Cache.Keep.Std()
	}
	if !e.NeverStale && !e.NoCache {
		past = max(past, e.StaleWhileRevalidate, e.StaleIfError, disconnectedStale)
	}
	return past
}

// ofUnknownRange reports whether a response answers a Range of which nobody knows
// what it meant: in no unit of the standard's, or answered by a 200 that is a part.
func (c *call) ofUnknownRange(got head) bool {
	asked := c.ex.View.Header.Get("Range")
	if asked == "" || c.whole || got.status == http.StatusPartialContent {
		return false
	}
	return !strings.HasPrefix(asked, "bytes=") || len(got.header["Content-Range"]) > 0
}

// endless lists the media types of responses that are live as long as their
// connection: events, pictures that replace each other, calls. Stored, they would
// tell the next client what is over.
func endless(media string) bool {
	return media == "text/event-stream" || media == "multipart/x-mixed-replace" || strings.HasPrefix(media, "application/grpc")
}

func orElse(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

// managedTTL is the lifetime that the policy gives a response at this edge; 0:
// none. never says that it forbids to store it.
func (c *call) managedTTL(status int, source rfc9111.Source) (ttl time.Duration, never bool) {
	ttl, named := c.ex.Route.Cache.Lifetime(status, c.ex.Plan.Query)
	switch {
	case policy.NeverStored(status) || named && ttl == 0:
		return 0, true
	case named:
		return ttl, false
	case status >= 500 || !rfc9111.HeuristicallyCacheable(status):
		return 0, false
	case ttl == 0 && source != rfc9111.Explicit:
		return c.ex.Snapshot.Policy.Cache.DefaultTTL.Std(), false
	}
	return ttl, false
}

// prepare gives an entry the header that it is served with and what selects it.
func (c *call) prepare(e *Entry, got head, cc *rfc9111.CacheControl) {
	rule := c.ex.Route.Cache
	e.Header = rfc9111.StoredHeader(got.header, cc, c.ex.Plan.Shared)
	got.date(e.Header)
	for name, values := range e.Header {
		e.Header[name] = slices.Clip(values)
	}
	names := slices.AppendSeq(slices.Concat(rfc9111.VaryNames(got.header), c.also), maps.Keys(c.learned))
	// What an origin forgets to say in Vary must not reach scripts of another
	// site; no standard wants that an entry is used.
	if origin := got.header.Get("Access-Control-Allow-Origin"); origin != "" && origin != "*" {
		names = append(names, "Origin")
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if !rule.Strict {
		// One response answers all codings: it was asked for without any.
		names = slices.DeleteFunc(names, func(name string) bool { return name == "Accept-Encoding" })
		if encodable(e.Status, e.Header) {
			rfc9111.AddVary(e.Header, "Accept-Encoding")
		}
	}
	e.Vary = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(rule.Vary, name) }) // those are in the key
	fields := (*sent)(c.ex)
	for _, name := range e.Vary {
		e.Selecting = append(e.Selecting, rfc9111.Selecting(name, fields.Values(name)))
	}
}

// fill hands a response on and, if it may be stored, records it on the way.
func (c *call) fill(resp *http.Response, got head) *http.Response {
	status := forwarded{why: c.ex.Plan.Forward, status: got.status, key: shownKey(c.ex, c.ex.Plan.Key)}
	if c.ex.View.Method != http.MethodHead {
		why := c.record(resp, got)
		status.stored, status.detail = why == rfc9111.Accepted, string(why)
	}
	c.ex.Facts.Cache, c.ex.Facts.NotStored = factMiss, status.detail
	c.tellOfCookies(resp.Header)
	addStatus(resp.Header, status.String())
	return resp
}

// record makes a response be stored while its body is read, or says why not.
func (c *call) record(resp *http.Response, got head) rfc9111.Refusal {
	limit := int64(c.ex.Snapshot.Policy.Cache.MaxObject)
	switch {
	case !c.ex.Plan.Store:
		return rfc9111.RefusedRequest
	case resp.ContentLength > limit:
		return refusedLarge
	case !delimited(resp):
		return refusedLength
	}
	e, refusal := c.admit(got)
	if refusal != rfc9111.Accepted {
		return refusal
	}
	if c.outranked(c.req.Context(), c.ex.Plan.Key, e) {
		return refusedFailure
	}
	c.filled = e
	commit := func(ctx context.Context, body []byte) {
		whole := *e // others are being answered with e meanwhile
		whole.Body, whole.Header = body, maps.Clone(e.Header)
		if got.status != http.StatusNoContent {
			whole.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
		}
		c.put(ctx, &whole)
	}
	if got.status == http.StatusPartialContent {
		if commit = c.storePart(e, got); commit == nil {
			return refusedRange
		}
	}
	lasting := context.WithoutCancel(c.req.Context()) // a client that leaves at the last byte has paid for the fill
	resp.Body = &recorder{
		ReadCloser: resp.Body, want: resp.ContentLength, limit: limit,
		held: &c.cache.recording, bound: max(limit, int64(c.ex.Snapshot.Policy.Cache.Memory)/4),
		commit: func(body []byte) { commit(lasting, body) },
	}
	return rfc9111.Accepted
}

// delimited reports whether the end of the body can be told from a broken
// connection: one that is delimited by the connection's end cannot (RFC 9112,
// 6.3).
func delimited(resp *http.Response) bool {
	return resp.ContentLength >= 0 || resp.ProtoMajor > 1 || slices.Contains(resp.TransferEncoding, "chunked")
}

// put stores an entry unless it was purged while it was filled.
func (c *call) put(ctx context.Context, e *Entry) {
	t := c.cache
	if !t.tags.Valid(e.Marks) || t.doubt.concerns(e.Marks) {
		return
	}
	at := c.keyOf(e)
	if c.outranked(ctx, at, e) {
		return
	}
	if !c.ex.Route.Cache.Strict {
		e.identify()
	}
	if e.partial() {
		at = partKey(at)
	}
	_ = t.store.Put(ctx, at, e) // Tiers never fails
}

// outranked reports whether an entry is a failure and would take the place of a
// response that may still be served, as it is or instead of failures.
func (c *call) outranked(ctx context.Context, at string, e *Entry) bool {
	if e.Status < 500 {
		return false
	}
	old := c.cache.store.inMemory(ctx, at, (*sent)(c.ex)).Entry // where what the shared store had is too
	if old == nil {
		old = c.stored // without memory
	}
	if old == nil || old.Status >= 500 || !c.cache.tags.Valid(old.Marks) {
		return false
	}
	return old.remaining(e.Received) > 0 || rfc9111.MayServeStale(old.state(e.Received), max(old.StaleWhileRevalidate, old.StaleIfError))
}

// keyOf is the key that an entry is stored under: the plan's, unless the entry
// itself says that queries are to be compared in another way.
func (c *call) keyOf(e *Entry) string {
	p := c.ex.Plan
	if p.Query == "" || c.ex.View.Method == methodQuery {
		return p.Key
	}
	rule := c.cache.learnSearchRule(c.ex, e.Header)
	return key(c.ex, keyed{query: p.Query, rule: rule})
}
