package cache

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// partKey is the key of the stored part of a resource. It differs from the resource's own key, so
// that a part never replaces a whole response.
func partKey(key string) string { return key + "/part" }

// storedPart finds the stored part of a resource for a plan: one that is newer than the whole
// stored response (RFC 9111, 4). It asks the shared store only for ranges, or without a store in
// memory: a part that only another gateway has is not worth a round trip for every miss.
func (c *Cache) storedPart(ctx context.Context, ex *exchange.Exchange, p *exchange.Plan) Found {
	whole, _ := p.Stored.(*Entry)
	ranged := ex.View.Header.Get("Range") != ""
	inMemory := !ranged && c.store.Local != nil
	if whole != nil && !ranged || inMemory && !c.store.parts.Load() {
		return Found{}
	}
	var found Found
	if key, fields := partKey(p.Key), (*sent)(ex); inMemory {
		found = c.store.inMemory(ctx, key, fields)
	} else {
		found, _ = c.store.Get(ctx, key, fields) // Tiers never fails
	}
	if whole != nil && found.Entry != nil && !found.Entry.Received.After(whole.Received) {
		return Found{}
	}
	return found
}

// partial reports whether the entry's body is a part.
func (e *Entry) partial() bool { return e.Complete > 0 }

// size is the length of the whole representation.
func (e *Entry) size() int64 {
	if e.partial() {
		return e.Complete
	}
	return int64(len(e.Body))
}

func (e *Entry) span() rfc9111.Span {
	return rfc9111.Span{First: e.First, Last: e.First + int64(len(e.Body)) - 1}
}

// bytes returns the content of a span that the entry has.
func (e *Entry) bytes(s rfc9111.Span) []byte { return e.Body[s.First-e.First : s.Last+1-e.First] }

// covers reports whether a part has all the ranges that a request asks for (RFC 9111, 3.3).
func (e *Entry) covers(v *policy.View) bool {
	if v.Method != http.MethodGet || v.Header.Get("Range") == "" {
		return false
	}
	ranges := rfc9111.SelectRanges(v.Header, e.Header, e.Complete, v.Now)
	for _, s := range ranges.Spans() {
		if !s.Within(e.span()) {
			return false
		}
	}
	return len(ranges.Spans()) > 0
}

// completes makes a request ask for what a stored part lacks, and reports whether it does (RFC
// 9111, 3.4). If the part has no strong validator, the response cannot be joined to it, but may be
// whole.
func (c *call) completes(out *http.Request) bool {
	h := out.Header
	if c.part == nil || c.ex.View.Method != http.MethodGet || h.Get("Range") != "" || h.Get("If-None-Match") != "" || h.Get("If-Modified-Since") != "" {
		return false
	}
	missing, ok := rfc9111.Missing(c.part.span(), c.part.Complete)
	if !ok {
		return false
	}
	if validator := rfc9111.StrongValidator(c.part.Header, c.ex.View.Now); validator != "" {
		h["If-Range"] = []string{validator}
	}
	last := ""
	if missing.Last < c.part.Complete-1 {
		last = strconv.FormatInt(missing.Last, 10)
	}
	h["Range"] = []string{"bytes=" + strconv.FormatInt(missing.First, 10) + "-" + last}
	return true
}

// completed answers with the stored part and the missing one together. It returns false if the
// response is not the missing part.
func (c *call) completed(resp *http.Response, got head) (*http.Response, bool) {
	p := c.part
	span, complete, ok := rfc9111.ParseContentRange(got.header.Get("Content-Range"))
	missing, _ := rfc9111.Missing(p.span(), p.Complete)
	if !ok || span != missing || complete != p.Complete || resp.ContentLength != span.Len() ||
		!rfc9111.MayCombine(p.Header, got.header, got.received) {
		return nil, false
	}
	cc := responseControl(got.header)
	got.header = withAge(rfc9111.Freshen(p.Header, rfc9111.StoredHeader(got.header, &cc, c.ex.Plan.Shared)), got.header)
	got.header.Set("Content-Length", strconv.FormatInt(p.Complete, 10))
	got.status = http.StatusOK
	resp.StatusCode, resp.Status, resp.Header, resp.ContentLength = http.StatusOK, "", got.header, p.Complete
	resp.Body = joined(p, resp.Body)
	return c.fill(resp, got), true
}

// storePart prepares the entry of a 206 and returns the function that stores it, or nil.
func (c *call) storePart(e *Entry, got head) func(ctx context.Context, body []byte) {
	span, complete, ok := rfc9111.ParseContentRange(got.header.Get("Content-Range"))
	if !ok {
		return nil // several ranges, or none
	}
	delete(e.Header, "Content-Range")
	delete(e.Header, "Content-Length")
	return func(ctx context.Context, body []byte) {
		if len(body) == 0 || int64(len(body)) > span.Len() {
			return
		}
		// A body shorter than its range is the beginning of it (RFC 9111, 3.3).
		e.Body, e.First, e.Complete = body, span.First, complete
		c.join(e, got)
		if e.First == 0 && int64(len(e.Body)) == e.Complete {
			e.Status, e.Complete = http.StatusOK, 0
			e.Header["Content-Length"] = []string{strconv.Itoa(len(e.Body))}
		}
		c.put(ctx, e)
	}
}

// join adds the stored part of the same representation to a new one. From here on the new one's
// marks detect purges of both.
func (c *call) join(e *Entry, got head) {
	p := c.part
	if p == nil || p.Complete != e.Complete || !rfc9111.MayCombine(p.Header, got.header, got.received) ||
		!c.cache.tags.Valid(p.Marks) || int64(len(p.Body)+len(e.Body)) > int64(c.ex.Snapshot.Policy.Cache.MaxObject) {
		return
	}
	if first, body, ok := rfc9111.Join(p.First, p.Body, e.First, e.Body); ok {
		e.First, e.Body = first, body
	}
}

// joined returns a stored part and the missing one in order.
func joined(p *Entry, missing io.ReadCloser) io.ReadCloser {
	stored := bytes.NewReader(p.Body)
	if p.First == 0 {
		return &replayed{io.MultiReader(stored, missing), missing}
	}
	return &replayed{io.MultiReader(missing, stored), missing}
}
