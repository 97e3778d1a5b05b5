package cache

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// maxStreaming bounds the responses that are encoded while they stream, each of
// which holds an encoder as long as its client takes; beyond it they are sent as
// identity.
const maxStreaming = 32

// readAtOnce is what is read of a body before it is encoded, in bytes.
const readAtOnce = 32 << 10

// askIdentity makes a request of a managed route ask for identity.
func askIdentity(req *http.Request) *http.Request {
	out := req.Clone(req.Context())
	out.Header["Accept-Encoding"] = acceptIdentity
	return out
}

// encode makes what the upstream gave what the client accepts; what is made of
// an entry is that already. It is encoded while it streams, although a hit on it
// will encode it again: to whoever is logged in responses go past the cache, and
// are never kept in any coding.
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

// confirm gives a 304 the weak tag that its client has, if that is what it has: a
// strong one would speak of another response than the one that is encoded (RFC
// 9111, 4.3.4).
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

// encodedBody encodes a body while it is read. What came is passed on at once,
// so that a slow body stays a stream; what ends in the middle has no end here
// either.
type encodedBody struct {
	src    io.ReadCloser
	coding int
	done   func()

	mu    sync.Mutex // nobody reads while the encoder is given back to others
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

// encodeMore reads once and encodes what came. The writers write to memory and never
// fail.
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

// Close ends the encoding wherever it is.
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
