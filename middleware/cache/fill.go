package cache

import (
	"bytes"
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

// MaxKeep bounds the life of every entry. The shared generations of tags (Counters) must live
// longer, or a purge would be forgotten before the entries that it invalidated.
const MaxKeep = 14 * 24 * time.Hour

// head is the head of an upstream response.
type head struct {
	status         int
	header         http.Header
	sent, received time.Time // times of the request and of the response
	marks, soft    []Mark    // of the request's tags, taken before it was sent
	changes        uint64    // Tags.changes then
	tags           []string  // of the stored response that it updates
}

// date adds a Date to the stored header if it has none (RFC 9110, 6.6.1).
func (got head) date(h http.Header) {
	if h.Get("Date") == "" {
		h.Set("Date", got.received.UTC().Format(http.TimeFormat))
	}
}

// gatewayFields are set anew in each upstream request, and look-ups do not see them. A response
// that varies by one of them can answer no other request.
var gatewayFields = []string{"X-Forwarded-For", "X-Request-Id", "Traceparent"}

// The cache's own reasons not to store a response, in addition to the standard's.
const (
	refusedCookie  rfc9111.Refusal = "set-cookie"
	refusedStream  rfc9111.Refusal = "stream"    // endless
	refusedRange   rfc9111.Refusal = "range"     // a part of unknown meaning
	refusedPolicy  rfc9111.Refusal = "policy"    // by statuses or ttl
	refusedLarge   rfc9111.Refusal = "too-large" // by cache.max_object
	refusedLength  rfc9111.Refusal = "no-length" // its end looks like a broken connection
	refusedPurged  rfc9111.Refusal = "purged"    // during the fill
	refusedTags    rfc9111.Refusal = "tags"      // more than maxTags, so that a purge would miss it
	refusedFailure rfc9111.Refusal = "failure"   // the stored response is better
)

// admit decides whether a response is stored. It returns its entry without the body, or the reason
// not to store it.
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
		URL: urlOf(c.ex), Status: got.status, Marks: got.marks, Soft: got.soft, Received: got.received, InitialAge: initial, Fresh: lifetime - initial,
		StaleWhileRevalidate: cc.StaleWhileRevalidate.Value, StaleIfError: cc.StaleIfErr.Value, Cost: got.received.Sub(got.sent),
	}
	if !rule.Strict {
		ttl, never := c.managedTTL(got.status, source)
		if never {
			return nil, refusedPolicy
		}
		if ttl > 0 && !cookie {
			lifetime, source, e.Fresh = ttl, rfc9111.Explicit, ttl
			cc.NoCache = false // the policy overrides the lifetime of what may be stored
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
	e.NeverStale = rfc9111.ForbidsStale(&cc, shared) || got.status >= 500 // a stale failure is no better than a new one
	c.prepare(e, got, &cc)
	e.Keep = min(max(0, e.Fresh)+c.usable(e), MaxKeep)
	if refusal = c.tag(e, got); refusal == rfc9111.Accepted {
		c.declare(e)
		return e, rfc9111.Accepted
	}
	return nil, refusal
}

// usable is how long after its freshness an entry may still be served stale or validated.
func (c *call) usable(e *Entry) (past time.Duration) {
	if rfc9111.HasValidator(e.Header) {
		past = c.ex.Snapshot.Policy.Cache.Keep.Std()
	}
	if !e.NeverStale && !e.NoCache {
		past = max(past, e.StaleWhileRevalidate, e.StaleIfError, disconnectedStale)
	}
	return past
}

// ofUnknownRange reports whether a response answers a Range of unknown meaning: one that is not the
// standard's, be it by its unit, its form or its number; one with an If-Range that is not of the
// stored response; or one answered by a 200 that is a part. No key has these fields, so their text
// must not choose what others get.
func (c *call) ofUnknownRange(got head) bool {
	h := c.ex.View.Header
	asked := h.Values("Range")
	if len(asked) == 0 || c.whole || got.status == http.StatusPartialContent {
		return false
	}
	known := len(h.Values("If-Range")) == 0 || c.stored != nil && rfc9111.IfRange(h, c.stored.Header, c.ex.View.Now)
	return !known || !rfc9111.ValidRange(asked) || len(got.header["Content-Range"]) > 0
}

// endless lists the media types of live responses, which end with their connection: events,
// pictures that replace each other, calls. A stored copy would replay the past.
func endless(media string) bool {
	return media == "text/event-stream" || media == "multipart/x-mixed-replace" || strings.HasPrefix(media, "application/grpc")
}

func orElse(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

// managedTTL is the lifetime that the policy gives a response at this edge; 0: none. never means
// that the policy forbids storing it.
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

// prepare sets the header that an entry is served with, and the fields that select it.
func (c *call) prepare(e *Entry, got head, cc *rfc9111.CacheControl) {
	rule := c.ex.Route.Cache
	e.Header = rfc9111.StoredHeader(got.header, cc, c.ex.Plan.Shared)
	got.date(e.Header)
	stripTags(c.ex, e.Header)
	for name, values := range e.Header {
		e.Header[name] = slices.Clip(values)
	}
	names := slices.AppendSeq(slices.Concat(rfc9111.VaryNames(got.header), c.also), maps.Keys(c.learned))
	// If an origin forgets Vary: Origin, its response must not reach another site's scripts. No
	// standard requires that an entry is used.
	if origin := got.header.Get("Access-Control-Allow-Origin"); origin != "" && origin != "*" {
		names = append(names, "Origin")
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if !rule.Strict {
		// One response serves all codings, since it was requested as identity.
		names = slices.DeleteFunc(names, func(name string) bool { return name == "Accept-Encoding" })
		if encodable(e.Status, e.Header) {
			rfc9111.AddVary(e.Header, "Accept-Encoding")
		}
	}
	e.Vary = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(rule.Vary, name) }) // these are in the key
	fields := (*sent)(c.ex)
	for _, name := range e.Vary {
		e.Selecting = append(e.Selecting, rfc9111.Selecting(name, fields.Values(name)))
	}
}

// fill passes a response on and, if it may be stored, records it.
func (c *call) fill(resp *http.Response, got head) *http.Response {
	status := forwarded{why: c.ex.Plan.Forward, status: got.status, key: shownKey(c.ex, c.ex.Plan.Key)}
	if c.ex.View.Method != http.MethodHead {
		why := c.record(resp, got)
		status.stored, status.detail = why == rfc9111.Accepted, string(why)
	}
	c.ex.Facts.Cache, c.ex.Facts.NotStored = factMiss, status.detail
	c.tellOfCookies(resp.Header)
	stripTags(c.ex, resp.Header)
	addStatus(resp.Header, status.String())
	return resp
}

// record arranges that a response is stored while its body is read, or returns the reason not to.
func (c *call) record(resp *http.Response, got head) rfc9111.Refusal {
	switch {
	case !c.ex.Plan.Store:
		return rfc9111.RefusedRequest
	case resp.ContentLength > int64(c.ex.Snapshot.Policy.Cache.MaxObject):
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
	commit := c.storeWhole(e)
	if got.status == http.StatusPartialContent {
		if commit = c.storePart(e, got); commit == nil {
			return refusedRange
		}
	}
	c.recordBody(resp, commit)
	return rfc9111.Accepted
}

// storeWhole returns what stores an entry once its whole body has come.
func (c *call) storeWhole(e *Entry) func(ctx context.Context, body []byte) {
	return func(ctx context.Context, body []byte) {
		whole := *e // others may be using e
		whole.Body, whole.Header = body, maps.Clone(e.Header)
		if e.Status != http.StatusNoContent {
			whole.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
		}
		c.put(ctx, &whole)
	}
}

// recordBody has a body recorded while it is read, and committed at its clean end.
func (c *call) recordBody(resp *http.Response, commit func(ctx context.Context, body []byte)) {
	limit := int64(c.ex.Snapshot.Policy.Cache.MaxObject)
	lasting := context.WithoutCancel(c.req.Context()) // store it even if the client leaves at the last byte
	resp.Body = &recorder{
		ReadCloser: resp.Body, want: resp.ContentLength, limit: limit,
		held: &c.cache.recording, bound: max(limit, int64(c.ex.Snapshot.Policy.Cache.Memory)/4),
		commit: func(body []byte) { commit(lasting, body) },
	}
}

// delimited reports whether the end of the body differs from a broken connection. It does not if
// the body ends with its connection (RFC 9112, 6.3).
func delimited(resp *http.Response) bool {
	return resp.ContentLength >= 0 || resp.ProtoMajor > 1 || slices.Contains(resp.TransferEncoding, "chunked")
}

// put stores an entry, unless it was purged during the fill.
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
	if c.theirs {
		t.store.remember(ctx, at, e)
	} else {
		_ = t.store.Put(ctx, at, e) // Tiers never fails
	}
	if old := c.stored; old != nil && !e.partial() {
		t.ratios.refilled(c.ex, old.Status == e.Status && bytes.Equal(old.Body, e.Body), c.refresh, e.Received)
	}
}

// outranked reports whether an entry is a failure that would replace a response which may still be
// served, fresh or instead of failures.
func (c *call) outranked(ctx context.Context, at string, e *Entry) bool {
	if e.Status < 500 {
		return false
	}
	old := c.cache.store.inMemory(ctx, at, (*sent)(c.ex)).Entry // which also holds what Get found in the shared store
	if old == nil {
		old = c.stored // without a store in memory
	}
	if old == nil || old.Status >= 500 || !c.cache.tags.Valid(old.Marks) {
		return false
	}
	return old.remaining(e.Received) > 0 || rfc9111.MayServeStale(old.state(e.Received), max(old.StaleWhileRevalidate, old.StaleIfError))
}

// keyOf is the key of an entry: the plan's, unless the entry's No-Vary-Search changes how queries
// are compared.
func (c *call) keyOf(e *Entry) string {
	p := c.ex.Plan
	if p.Query == "" || c.ex.View.Method == methodQuery {
		return p.Key
	}
	rule := c.cache.learnSearchRule(c.ex, e.Header)
	return key(c.ex, keyed{query: p.Query, rule: rule})
}
