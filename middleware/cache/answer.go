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

// rendering is the answer to one request from an entry: a status, the content, and the header
// values that replace the entry's.
type rendering struct {
	status       int
	content      []byte
	contentRange string // of a 206 or 416; else ""
	contentType  string // "": the entry's
	form         *coded // the coding of the content, or of a 304's; nil: identity
	coding       int    // index of form's coding
}

// render selects what a request gets of an entry, and in which coding. Ranges are always of
// identity; a 304 has the ETag of the 200 that it stands for.
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

// render selects what a request gets of an entry: a 304 if its conditions hold (RFC 9111, 4.3.2),
// the ranges it asks for (RFC 9110, 14.2), else everything. A partial entry must cover the request.
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

// multipart answers several ranges at once (RFC 9110, 14.6). The boundary is random, so that no
// content can contain it.
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

// setHeader adds the header of a rendered response to h, which may hold fields already.
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

// keptIn416 lists the stored fields that a 416 keeps; it is not a representation of the resource.
func keptIn416(name string) bool {
	switch name {
	case "Date", "Vary", "Via", statusField, "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials":
		return true
	}
	return false
}

// answer builds a response from an entry.
func (c *call) answer(e *Entry, status string) *http.Response {
	v, now := &c.ex.View, c.cache.now()
	e.Uses.add(now)
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
