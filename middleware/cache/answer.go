package cache

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// rendering is how one request is answered from an entry: a status, the content,
// and what its header says in place of the entry's.
type rendering struct {
	status       int
	content      []byte
	contentRange string // ""; else of a 206 or 416
	contentType  string // "": the entry's
	form         *coded // of which the content is, or would be of a 304; nil: identity
	coding       int    // of form
}

// render decides what of an entry a request gets, and in which coding. Ranges
// are of identity; a 304 has the ETag that the 200 would have.
func (c *Cache) render(ex *exchange.Exchange, e *Entry, key string, cc *rfc9111.CacheControl, now time.Time) rendering {
	r := e.render(&ex.View, now)
	if e.Codings == nil || r.status != e.Status && r.status != http.StatusNotModified {
		return r
	}
	w := wanted(ex, cc)
	if w.coding < 0 {
		return r
	}
	if r.status == http.StatusNotModified {
		r.form = &coded{}
	} else if f := c.form(e, key, w); f != nil {
		r.content, r.form = f.body, f
	}
	r.coding = w.coding
	return r
}

// render decides what of an entry a request gets: a 304 where its conditions
// hold (RFC 9111, 4.3.2), the ranges it asks for (RFC 9110, 14.2), else all. An
// entry that is a part must cover the request.
func (e *Entry) render(v *policy.View, now time.Time) rendering {
	if rfc9111.NotModified(v.Header, e.Status, e.Header, now) {
		return rendering{status: http.StatusNotModified}
	}
	whole := rendering{status: e.Status, content: e.Body}
	if v.Method != http.MethodGet || e.Status != http.StatusOK && !e.partial() {
		return whole
	}
	size := e.size()
	ranges := rfc9111.SelectRanges(v.Header, e.Header, size, now)
	spans := ranges.Spans()
	switch {
	case ranges.Unsatisfiable:
		return rendering{status: http.StatusRequestedRangeNotSatisfiable, contentRange: "bytes */" + strconv.FormatInt(size, 10)}
	case len(spans) == 0:
		return whole
	case len(spans) == 1:
		text := rfc9111.AppendContentRange(nil, spans[0], size)
		return rendering{status: http.StatusPartialContent, content: e.bytes(spans[0]), contentRange: string(text)}
	}
	return e.multipart(spans, size)
}

// multipart answers several ranges at once (RFC 9110, 14.6). The boundary is
// random, so that no content can hold it.
func (e *Entry) multipart(spans []rfc9111.Span, size int64) rendering {
	boundary := rand.Text()
	var b []byte
	for _, span := range spans {
		b = append(append(b, "--"...), boundary...)
		if contentType := e.Header.Get("Content-Type"); contentType != "" {
			b = append(append(b, "\r\nContent-Type: "...), contentType...)
		}
		b = rfc9111.AppendContentRange(append(b, "\r\nContent-Range: "...), span, size)
		b = append(append(append(b, "\r\n\r\n"...), e.bytes(span)...), "\r\n"...)
	}
	b = append(append(append(b, "--"...), boundary...), "--\r\n"...)
	return rendering{status: http.StatusPartialContent, content: b, contentType: "multipart/byteranges; boundary=" + boundary}
}

// setHeader makes h, which may hold headers already, that of a rendered response.
func (e *Entry) setHeader(h http.Header, now time.Time, status string, r rendering) {
	for name, values := range e.Header {
		if r.status == http.StatusNotModified && rfc9111.OmitFrom304(name) ||
			r.status == http.StatusRequestedRangeNotSatisfiable && !keptIn416(name) {
			continue
		}
		h[name] = values
	}
	if r.contentRange != "" || r.contentType != "" {
		h["Content-Length"] = []string{strconv.Itoa(len(r.content))}
		if r.contentRange != "" {
			h["Content-Range"] = []string{r.contentRange}
		}
		if r.contentType != "" {
			h["Content-Type"] = []string{r.contentType}
		}
	}
	if r.form != nil {
		recode(h, r.status, r.coding, e.Codings.tag)
		if r.form.length != nil {
			h["Content-Length"] = r.form.length
		}
	}
	made := [2]string{strconv.FormatInt(int64(e.age(now)/time.Second), 10), status}
	values := made[:]
	h["Age"] = values[0:1:1]
	if upstream := e.Header[statusField]; len(upstream) > 0 {
		h[statusField] = append(upstream, status)
	} else {
		h[statusField] = values[1:2:2]
	}
}

// keptIn416 lists what a 416 has of the stored response: it is no representation
// of the resource.
func keptIn416(name string) bool {
	switch name {
	case "Date", "Vary", "Via", statusField, "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials":
		return true
	}
	return false
}

// answer makes a response from an entry.
func (c *call) answer(e *Entry, status string) *http.Response {
	v, now := &c.ex.View, c.cache.now()
	r := c.cache.render(c.ex, e, c.keyOf(e), &c.ex.Plan.Control, now)
	resp := &http.Response{
		StatusCode: r.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        make(http.Header, len(e.Header)+4),
		Body:          http.NoBody,
		ContentLength: int64(len(r.content)),
		Request:       c.req,
	}
	e.setHeader(resp.Header, now, status, r)
	if v.Method != http.MethodHead {
		resp.Body = io.NopCloser(bytes.NewReader(r.content))
	}
	return resp
}
