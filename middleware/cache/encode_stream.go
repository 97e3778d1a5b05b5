package cache

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// maxStreaming bounds the responses that are encoded while they stream. Each holds an encoder as
// long as its client takes. Beyond it responses are sent as identity.
const maxStreaming = 32

// readAtOnce is how many bytes of a body are read before they are encoded.
const readAtOnce = 32 << 10

// askIdentity returns a request of a managed route that asks for identity.
func askIdentity(req *http.Request) *http.Request {
	out := req.Clone(req.Context())
	out.Header["Accept-Encoding"] = acceptIdentity
	return out
}

// encode encodes an upstream response as the client accepts; responses from an entry already are.
// It encodes the stream although a hit will encode the entry again, since responses to logged-in
// clients go past the cache and are never kept in any coding.
func (c *Cache) encode(ex *exchange.Exchange, resp *http.Response) {
	h := resp.Header
	if ex.Route == nil || ex.Route.Cache == nil || !ex.Route.Cache.Encode {
		return
	}
	w := wanted(ex, &ex.Plan.Control)
	if resp.StatusCode == http.StatusNotModified {
		confirm(ex, h, w)
		return
	}
	if !encodable(resp.StatusCode, h) {
		return
	}
	rfc9111.AddVary(h, "Accept-Encoding")
	short := resp.ContentLength >= 0 && resp.ContentLength < minEncoded
	if w.coding < 0 || short && !w.must || len(resp.Trailer) > 0 {
		return
	}
	if ex.View.Method != http.MethodHead {
		if !try(c.streaming) {
			return
		}
		resp.Body = &encodedBody{src: resp.Body, coding: w.coding, enc: takeEncoder(w.coding), done: func() { <-c.streaming }}
	}
	resp.ContentLength = -1
	recode(h, resp.StatusCode, w.coding, weakTag(h))
}

// confirm gives a 304 the weak tag if that is what its client has: the strong one would name
// another response than the encoded one (RFC 9111, 4.3.4).
func confirm(ex *exchange.Exchange, h http.Header, w want) {
	tag := weakTag(h)
	if w.coding < 0 || tag == nil {
		return
	}
	for _, line := range ex.View.Header.Values("If-None-Match") {
		if strings.Contains(line, tag[0]) {
			h["Etag"] = tag
			return
		}
	}
}

// encodedBody encodes a body while it is read. It passes data on at once, so that a slow body stays
// a stream. A truncated source stays truncated.
type encodedBody struct {
	src    io.ReadCloser
	coding int
	done   func()

	mu    sync.Mutex // held so that no Read uses an encoder that Close returned
	enc   *encoder   // nil once closed
	chunk []byte
	err   error // of src, io.EOF at its end
}

func (b *encodedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.enc == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	for b.enc.out.Len() == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.encodeMore()
	}
	return b.enc.out.Read(p)
}

// encodeMore reads once and encodes the data. The writers write to memory and never fail.
func (b *encodedBody) encodeMore() {
	if b.chunk == nil {
		b.chunk = make([]byte, readAtOnce)
	}
	n, err := b.src.Read(b.chunk)
	_, _ = b.enc.Write(b.chunk[:n])
	b.err = err
	switch {
	case err == io.EOF:
		_ = b.enc.Close()
	case n > 0:
		_ = b.enc.Flush()
	}
}

// Close ends the encoding at any point.
func (b *encodedBody) Close() error {
	err := b.src.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.enc != nil {
		giveEncoder(b.coding, b.enc)
		b.enc = nil
		b.done()
	}
	return err
}
