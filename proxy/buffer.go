package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/jewgo/gateway/policy"
)

// buffersInAll bounds the bytes of all bodies that are held at once. Beyond it bodies stream.
const buffersInAll = 64 << 20

// buffers reads bodies before their requests go upstream, so that a client that sends slowly does not occupy
// a worker of the upstream meanwhile. The zero value works.
type buffers struct{ held atomic.Int64 }

// streams reports a stream of gRPC, which may wait for the answer before it goes on. Its content type alone may
// come from anybody; but only HTTP/2 carries gRPC.
func streams(r *http.Request, route *policy.Route) bool {
	return route.HTTP2 && r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// hold reads as much of r's body as the route says, and puts it in front of the rest. release is called when the
// request is over.
func (b *buffers) hold(r *http.Request, route *policy.Route) (release func(), err error) {
	release = func() {}
	most := route.Buffer
	if most == 0 || r.Body == nil || r.Body == http.NoBody || streams(r, route) {
		return release, nil
	}
	var read bytes.Buffer
	release = func() { b.held.Add(-int64(read.Cap())) }
	body := &heldBody{rest: r.Body}
	for !body.ended && int64(read.Len()) < most && b.held.Load() < buffersInAll {
		before := read.Cap()
		read.Grow(bytes.MinRead) // it doubles
		b.held.Add(int64(read.Cap() - before))
		room := read.AvailableBuffer()
		n, err := r.Body.Read(room[:min(int64(cap(room)), most-int64(read.Len()))])
		read.Write(room[:n]) // never fails
		switch {
		case errors.Is(err, io.EOF):
			body.ended = true
		case err != nil:
			return release, err
		}
	}
	body.held = read.Bytes()
	r.Body = body
	return release, nil
}

// heldBody is a body whose beginning is held.
type heldBody struct {
	held  []byte
	rest  io.ReadCloser
	ended bool // there is no rest
}

// Read implements io.Reader. The end comes with the last bytes, as it does from net/http: so it is known
// before the upstream can have answered.
func (b *heldBody) Read(p []byte) (n int, err error) {
	if len(b.held) == 0 && !b.ended {
		return b.rest.Read(p)
	}
	n = copy(p, b.held)
	if b.held = b.held[n:]; len(b.held) == 0 && b.ended {
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (b *heldBody) Close() error { return b.rest.Close() }
