package cache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// maxWrites bounds the writes whose clients have left, and those of which nobody
// knows what became of them, each.
const maxWrites = 128

// write is a request with an unsafe method whose success purges something. Once all
// of it was sent the upstream may do what it says, so it goes on without its client,
// and where no answer comes it counts as done.
type write struct {
	cache   *Cache
	ex      *exchange.Exchange
	client  context.Context // of the client's request
	timeout time.Duration   // of the upstream
	head    atomic.Bool     // it was sent, at the last try
	wrote   atomic.Bool     // a try sent all
	body    *countedBody    // nil: none
	cancel  context.CancelFunc
	stop    func() bool // ends the watch of the client

	mu    sync.Mutex // guards what follows
	alone bool       // the client has left, and a place is taken
	over  bool
}

// send carries out what pass asks for.
func (t *transport) send(ex *exchange.Exchange, req *http.Request) (*http.Response, error) {
	if ex.Route == nil || !rfc9111.Unsafe(ex.View.Method) || req.Header.Get("Upgrade") != "" || len(t.cache.written(ex, nil)) == 0 {
		return t.next.RoundTrip(req)
	}
	w := &write{cache: t.cache, ex: ex, client: req.Context(), timeout: ex.Snapshot.Policy.Upstreams[ex.Route.Upstream].Timeout.Std()}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.client))
	w.cancel = cancel
	w.stop = context.AfterFunc(w.client, func() { w.goesOn() })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { w.head.Store(false) }, // net/http tries again where nothing was written
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

// sent reports whether all of the request may have reached the upstream. Head and body
// are noted before the last byte goes out, wrote after it, and so perhaps after the
// upstream's answer.
func (w *write) sent() bool {
	return w.wrote.Load() || w.head.Load() && (w.body == nil || w.body.whole.Load())
}

// countedBody notes when the transport has all of a request's body.
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

// goesOn reports whether the write goes on without its client, who has left; else it
// is cancelled.
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

// end lets go of the request upstream.
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

// unknown purges what the write may have changed, and once more when it must be over;
// what is filled meanwhile is not stored, since it may be from before.
func (w *write) unknown() {
	c, tags := w.cache, w.cache.written(w.ex, nil)
	marks := c.tags.Marks(tags)
	later := c.doubt.begin(marks) // else too many at once, whose own second purges come
	if err := c.tags.Purge(w.client, tags...); err != nil {
		w.ex.Facts.Note("purge done here, and perhaps not elsewhere: " + err.Error())
	}
	if !later {
		return
	}
	owned := c.begin(func() {
		pause(c.life, w.timeout)
		_ = c.tags.Purge(context.WithoutCancel(c.life), tags...) // what Redis does not take now is told later
		c.doubt.end(marks)
	})
	if !owned {
		c.doubt.end(marks)
	}
}

// writeBody is the answer to a write. What its client does not read is read here.
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

// drain reads what is left, until the cache is closed or the upstream's time is over.
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

// doubts are the slots of tags that a write may be changing at this moment.
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

// concerns reports whether an entry with these marks may be from before a write.
func (d *doubts) concerns(marks []Mark) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range marks {
		if d.of[m.Slot] > 0 {
			return true
		}
	}
	return false
}
