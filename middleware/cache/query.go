package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
)

// methodQuery is a safe method whose content is part of the request's meaning (RFC 10008).
const methodQuery = "QUERY"

// maxQueryContent bounds the content of a QUERY that is buffered for its key, in bytes; larger ones
// bypass the cache.
const maxQueryContent = 64 << 10

// contentFields say how content is to be read (RFC 9110, 8).
var contentFields = [...]string{"Content-Type", "Content-Encoding", "Content-Language"}

// queryContent reads the content of a QUERY and returns its part in the key: a hash of it and of
// the fields that say how to read it (RFC 10008, 2.7). The request keeps its content. "" means that
// it cannot be keyed: it is too large, has trailers, or is incomplete, which the upstream's reader
// will find too.
func queryContent(r *http.Request) string {
	if r.Body == nil || r.ContentLength > maxQueryContent || len(r.Trailer) > 0 {
		return ""
	}
	content, err := io.ReadAll(io.LimitReader(r.Body, maxQueryContent+1))
	if err != nil || len(content) > maxQueryContent {
		r.Body = &replayed{io.MultiReader(bytes.NewReader(content), errorReader{err}, r.Body), r.Body}
		return ""
	}
	body := r.Body
	r.Body = &replayed{bytes.NewReader(content), body}
	r.ContentLength, r.TransferEncoding = int64(len(content)), nil // not chunked, which some upstreams do not support
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	b := make([]byte, 0, 256+len(content))
	for _, name := range contentFields {
		values := r.Header[name]
		b = append(b, byte(min(len(values), 255)))
		for _, value := range values {
			b = part(b, value)
		}
	}
	sum := sha256.Sum256(part(b, string(content)))
	return string(sum[:])
}

// replayed returns what was already read of a body before the rest.
type replayed struct {
	io.Reader
	io.Closer
}

// errorReader fails with err, or ends if err is nil.
type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) {
	if r.err == nil || errors.Is(r.err, io.EOF) {
		return 0, io.EOF
	}
	return 0, r.err
}
