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
	timeout time.Duration // of the upstream
	sent    atomic.Bool   // in full
	alone   atomic.Bool   // the client has left, and a place is taken
	cancel  context.CancelFunc
	stop    func() bool // ends the watch of the client
}

// send carries out what pass asks for.
func (t *transport) send(ex *exchange.Exchange, req *http.Request) (*http.Response, error) {
	if ex.Route == nil || !rfc9111.Unsafe(ex.View.Method) || len(t.cache.written(ex, nil)) == 0 {
		return t.next.RoundTrip(req)
	}
	w := &write{cache: t.cache, ex: ex, timeout: ex.Snapshot.Policy.Upstreams[ex.Route.Upstream].Timeout.Std()}
	ctx, cancel := context.WithCancel(context.WithoutCancel(req.Context()))
	w.cancel = cancel
	w.stop = context.AfterFunc(req.Context(), w.clientLeft)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) { w.sent.Store(info.Err == nil) }})
	resp, err := t.next.RoundTrip(req.WithContext(ctx))
	switch {
	case err != nil:
		w.end()
		if w.sent.Load() {
			w.unknown(req.Context())
		}
		return nil, err
	case resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusGatewayTimeout:
		w.unknown(req.Context())
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, nil // the connection's end ends all
	}
	resp.Body = &writeBody{ReadCloser: resp.Body, write: w}
	return resp, nil
}

// clientLeft lets a write go on that was sent in full.
func (w *write) clientLeft() {
	if w.sent.Load() && try(w.cache.writes) {
		w.alone.Store(true)
		return
	}
	w.cancel()
}

// end lets go of the request upstream.
func (w *write) end() {
	w.stop()
	w.cancel()
	if w.alone.Swap(false) {
		<-w.cache.writes
	}
}

// unknown purges what the write may have changed, and once more when it must be over;
// what is filled meanwhile is not stored, since it may be from before.
func (w *write) unknown(ctx context.Context) {
	tags := w.cache.written(w.ex, nil)
	purge := func(ctx context.Context) {
		if err := w.cache.tags.Purge(ctx, tags...); err != nil {
			w.ex.Facts.Note("purge done here, and perhaps not elsewhere: " + err.Error())
		}
	}
	later := w.cache.doubt.begin(w.cache.tags.Marks(tags))
	purge(ctx)
	if !later {
		return // too many at once: those to come are purged by their own
	}
	again := exchange.With(context.WithoutCancel(ctx), &exchange.Exchange{Snapshot: w.ex.Snapshot})
	w.cache.tasks.Go(func() {
		timer := time.NewTimer(w.timeout)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.cache.life.Done():
		}
		_ = w.cache.tags.Purge(again, tags...) // what Redis does not take now is told later
		w.cache.doubt.end(w.cache.tags.Marks(tags))
	})
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
		if b.done || !b.write.alone.Load() {
			_ = b.ReadCloser.Close()
			b.write.end()
			return
		}
		b.write.cache.tasks.Go(func() {
			limit := time.AfterFunc(b.write.timeout, b.write.cancel)
			defer limit.Stop()
			_, _ = io.Copy(io.Discard, b.ReadCloser)
			_ = b.ReadCloser.Close()
			b.write.end()
		})
	})
	return nil
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
