package cache

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// maxWrites bounds the writes whose clients have left, and separately those of unknown outcome.
const maxWrites = 128

// write is a request with an unsafe method whose success purges something. Once it was sent
// completely, the upstream may execute it. So it continues without its client, and counts as done
// if no response comes.
type write struct {
	cache   *Cache
	ex      *exchange.Exchange
	client  context.Context // of the client's request
	timeout time.Duration   // of the route
	head    atomic.Bool     // the last attempt sent it
	wrote   atomic.Bool     // an attempt sent everything
	body    *countedBody    // nil: none
	cancel  context.CancelFunc
	stop    func() bool // ends the watch of the client

	mu    sync.Mutex // guards what follows
	alone bool       // the client has left, and a slot of lingering is taken
	over  bool
}

// send carries out the request of pass.
func (t *transport) send(ex *exchange.Exchange, req *http.Request) (*http.Response, error) {
	if ex.Route == nil || !rfc9111.Unsafe(ex.View.Method) || req.Header.Get("Upgrade") != "" || len(t.cache.written(ex, nil)) == 0 {
		return t.next.RoundTrip(req)
	}
	w := &write{cache: t.cache, ex: ex, client: req.Context(), timeout: ex.Route.Timeout}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.client))
	w.cancel = cancel
	w.stop = context.AfterFunc(w.client, func() { w.goesOn() })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { w.head.Store(false) }, // net/http retries if nothing was written
		WroteHeaders: func() { w.head.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) { w.wrote.CompareAndSwap(false, info.Err == nil) },
	})
	out := req.WithContext(ctx)
	if out.Body != nil && out.Body != http.NoBody {
		w.body = &countedBody{ReadCloser: out.Body, want: out.ContentLength}
		out.Body = w.body
	}
	resp, err := t.next.RoundTrip(out)
	if err != nil {
		w.end()
		if w.sent() {
			w.unknown()
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusGatewayTimeout {
		w.unknown()
	}
	resp.Body = &writeBody{ReadCloser: resp.Body, write: w}
	return resp, nil
}

// sent reports whether the whole request may have reached the upstream. head and body are set
// before the last byte is sent; wrote is set after it, so perhaps after the upstream's response.
func (w *write) sent() bool {
	return w.wrote.Load() || w.head.Load() && (w.body == nil || w.body.whole.Load())
}

// countedBody detects when the transport has read the whole request body.
type countedBody struct {
	io.ReadCloser
	want  int64 // -1: up to its end
	got   int64
	whole atomic.Bool
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.got += int64(n); b.got == b.want || errors.Is(err, io.EOF) {
		b.whole.Store(true)
	}
	return n, err
}

// goesOn reports whether the write continues without its client, which has left; otherwise it is
// cancelled.
func (w *write) goesOn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.alone && !w.over {
		w.alone = w.sent() && try(w.cache.lingering)
	}
	if !w.alone {
		w.cancel()
	}
	return w.alone
}

// end releases the upstream request.
func (w *write) end() {
	w.stop()
	w.cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.alone {
		w.alone = false
		<-w.cache.lingering
	}
}

// unknown purges what the write may have changed, and purges it again when the write must be over.
// Responses filled in between may be older than the write, and are not stored.
func (w *write) unknown() {
	c, tags := w.cache, w.cache.written(w.ex, nil)
	marks := c.tags.Marks(tags)
	later := c.doubt.begin(marks) // false: too many at once; their second purges still come
	if err := c.purge(w.client, tags...); err != nil {
		w.ex.Facts.Note("purged on this gateway, perhaps not on others: " + err.Error())
	}
	if !later {
		return
	}
	owned := c.begin(func() {
		pause(c.life, w.timeout)
		_ = c.purge(context.WithoutCancel(c.life), tags...) // what the shared store refuses now is repeated later
		c.doubt.end(marks)
	})
	if !owned {
		c.doubt.end(marks)
	}
}

// writeBody is the response body of a write. If the client leaves, it is read to its end here.
type writeBody struct {
	io.ReadCloser
	write *write
	done  bool
	once  sync.Once
}

// Read implements io.Reader.
func (b *writeBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.done = b.done || errors.Is(err, io.EOF)
	return n, err
}

// Close implements io.Closer.
func (b *writeBody) Close() error {
	b.once.Do(func() {
		w := b.write
		if b.done || w.client.Err() == nil || !w.goesOn() || !w.cache.begin(b.drain) {
			b.end()
		}
	})
	return nil
}

// drain reads the rest, until the cache is closed or the route's timeout has passed.
func (b *writeBody) drain() {
	limit := time.AfterFunc(b.write.timeout, b.write.cancel)
	defer limit.Stop()
	defer context.AfterFunc(b.write.cache.life, b.write.cancel)()
	_, _ = io.Copy(io.Discard, b.ReadCloser)
	b.end()
}

func (b *writeBody) end() {
	_ = b.ReadCloser.Close()
	b.write.end()
}

// doubts are the slots of tags that a write of unknown outcome may be changing.
type doubts struct {
	mu    sync.Mutex
	count int            // of writes; guarded by mu
	of    map[uint16]int // guarded by mu
}

// begin reports whether there was room for one more.
func (d *doubts) begin(marks []Mark) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count >= maxWrites {
		return false
	}
	d.count++
	if d.of == nil {
		d.of = map[uint16]int{}
	}
	for _, m := range marks {
		d.of[m.Slot]++
	}
	return true
}

func (d *doubts) end(marks []Mark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count--
	for _, m := range marks {
		if d.of[m.Slot]--; d.of[m.Slot] == 0 {
			delete(d.of, m.Slot)
		}
	}
}

// copyTo copies what is in doubt.
func (d *doubts) copyTo(other *doubts) {
	d.mu.Lock()
	defer d.mu.Unlock()
	other.count, other.of = d.count, maps.Clone(d.of)
}

// concerns reports whether an entry with these marks may be older than such a write.
func (d *doubts) concerns(marks []Mark) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(marks, func(m Mark) bool { return d.of[m.Slot] > 0 })
}
