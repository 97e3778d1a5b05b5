package cache

import (
	"bytes"
	"io"
	"net/http"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// answer makes a response from an entry, a 304 if the client's own conditions
// ask for it.
func (c *call) answer(e *Entry, status string) *http.Response {
	v := &c.ex.View
	now := c.cache.now()
	notModified := rfc9111.NotModified(v.Header, e.Status, e.Header, now)
	resp := &http.Response{
		StatusCode: e.Status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        make(http.Header, len(e.Header)+2),
		Body:          http.NoBody,
		ContentLength: int64(len(e.Body)),
		Request:       c.req,
	}
	e.fill(resp.Header, now, status, notModified)
	switch {
	case notModified:
		resp.StatusCode, resp.ContentLength = http.StatusNotModified, 0
	case v.Method != http.MethodHead:
		resp.Body = io.NopCloser(bytes.NewReader(e.Body))
	}
	return resp
}
