package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// flight is one upstream request, shared by all requests that miss, or must validate, the same
// response at the same time. It belongs to the cache, not to the first client, and runs while
// anyone waits for it. When nobody does, it is cancelled, so that abandoned requests cost the
// upstream no more than without collapsing. A background refresh is a flight that runs unattended.
type flight struct {
	cache  *Cache
	key    string
	marks  []Mark // of its tags, taken before the upstream was asked
	cancel context.CancelFunc

	waiting    int         // seats taken; guarded by cache.mu
	unattended bool        // runs although nobody waits; guarded by cache.mu
	leader     *seat       // nil: none, or it has left; guarded by cache.mu
	next       *flight     // after a failure, the flight of all that waited; guarded by cache.mu
	abandoned  bool        // cancelled before a response came; guarded by cache.mu
	outgrown   bool        // will not be stored; guarded by cache.mu
	limit      *time.Timer // of persist; guarded by cache.mu

	arrived chan struct{} // closed when out is set
	out     outcome
}

// outcome is the result of a flight.
type outcome struct {
	resp   *http.Response // for the leader
	err    error
	failed *failure // the upstream failed to validate an entry
	facts  exchange.Facts

	entry *Entry    // shared; nil: the response is for the leader alone
	key   string    // under which entry is stored
	body  *stream   // entry's body while it arrives; nil: entry has it
	from  *recorder // the source of body
	leads *reader   // the leader's reader of body
}

var (
	errAlone = errors.New("cache: the shared response is not for this request")
	errAgain = errors.New("cache: the shared response is of another variant or query, or purged")
	errRetry = errors.New("cache: the shared request failed, perhaps because of the leader's own fields")
)

// collapse answers a miss or a validation together with similar requests, or alone.
func (c *call) collapse() (*http.Response, error) {
	var failed *flight
	for range 3 { // once more if the variant was unknown, and once after a failure
		s := c.board(failed)
		if s == nil {
			break
		}
		resp, err := s.await(c)
		switch {
		case errors.Is(err, errAgain):
			c.flight = "" // compute it again: Vary is known now
			continue
		case errors.Is(err, errRetry) && failed == nil:
			failed = s.flight
			continue
		case errors.Is(err, errRetry):
			return nil, s.flight.out.err
		case errors.Is(err, errAlone):
			return c.solo()
		}
		return resp, err
	}
	return c.solo()
}

// solo asks the upstream for this call alone.
func (c *call) solo() (*http.Response, error) {
	resp, err := c.do()
	if err == nil {
		c.teach(resp)
	}
	return resp, err
}

// board seats the call in the flight of its key, or in a new one; nil: the call goes alone.
// Requests after a purge never join a flight that began before it. All requests that waited for a
// failed flight share the next one, however late they come.
func (c *call) board(failed *flight) *seat {
	t, key := c.cache, c.flightKey()
	joins, leads := c.mayJoin(), c.mayLead()
	if !joins && !leads {
		return nil
	}
	marks := t.tags.Marks(c.ex.Plan.Tags)
	_, alone := t.alone.get(key, c.ex.Plan.Now)
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.flights[key]
	if failed != nil && failed.next != nil && !failed.next.abandoned {
		f = failed.next
	}
	if f != nil && !t.tags.Valid(f.marks) {
		if t.flights[key] == f {
			delete(t.flights, key)
		}
		f = nil
	}
	switch {
	case f != nil && joins:
		failed.followLocked(f)
		f.waiting++
		return f.seat(c)
	case f != nil || !leads || alone || t.closed:
		return nil
	}
	f = t.departLocked(key, marks)
	failed.followLocked(f)
	s := f.seat(c)
	f.waiting, f.leader = 1, s
	fill := c.detached(f.bounded(context.WithoutCancel(c.req.Context())))
	go f.run(fill)
	return s
}

// departLocked registers a flight, which run must carry out.
func (c *Cache) departLocked(key string, marks []Mark) *flight {
	f := &flight{cache: c, key: key, marks: marks, arrived: make(chan struct{})}
	c.flights[key] = f
	c.tasks.Add(1)
	return f
}

// followLocked makes next the flight for the requests that waited for f, if any.
func (f *flight) followLocked(next *flight) {
	if f != nil {
		f.next = next
	}
}

// bounded returns the context of the flight's request, which ends with the cache. The timeout for a
// silent upstream is set where the upstream is asked.
func (f *flight) bounded(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(f.cache.life, cancel)
	f.cancel = func() { stop(); cancel() }
	return ctx
}

// run carries out a flight: it asks the upstream, publishes the outcome, and passes the body on.
func (f *flight) run(c *call) {
	t := f.cache
	defer t.tasks.Done()
	f.out = f.ask(c)
	out := &f.out
	t.mu.Lock()
	if out.body != nil && f.leader != nil {
		out.leads, _ = out.body.reader(f.leader)
	}
	led := f.leader != nil
	if led && out.body == nil {
		f.landLocked()
	}
	close(f.arrived)
	t.mu.Unlock()
	switch {
	case out.body != nil:
		f.carry(c.req.Context())
	case !led && out.resp != nil:
		discard(out.resp)
	case led && out.resp != nil:
		return // the leader has the response; its seat ends the flight
	}
	t.mu.Lock()
	f.landLocked()
	t.mu.Unlock()
	f.cancel()
}

// landLocked stops further requests from joining.
func (f *flight) landLocked() {
	if f.cache.flights[f.key] == f {
		delete(f.cache.flights, f.key)
	}
	f.attendLocked()
}

// attendLocked makes the flight end when nobody waits any more.
func (f *flight) attendLocked() {
	if f.unattended {
		f.unattended = false
		f.cache.refreshes--
	}
	if f.limit != nil {
		f.limit.Stop() // a running timer would keep the flight, and its body, in memory
	}
}

// ask asks the upstream, unless the response was stored meanwhile, and decides whether the response
// can be shared.
func (f *flight) ask(c *call) (out outcome) {
	defer func() {
		out.facts = c.ex.Facts
		if v := recover(); v != nil {
			out = outcome{err: panicked(v)}
		}
	}()
	if e := c.landed(); e != nil {
		c.ex.Facts.Cache, c.ex.Facts.Tier = factHit, tierLocal
		status := hitStatus(e.remaining(c.ex.Plan.Now), tierLocal, shownKey(c.ex, c.ex.Plan.Key))
		return outcome{entry: e, key: c.keyOf(e), resp: c.answer(e, status)} //nolint:bodyclose // the leader closes it, or discard
	}
	if f.claim(c) {
		if theirs, ok := f.follow(c); ok {
			return theirs
		}
	}
	out.resp, out.err = c.solo() //nolint:bodyclose // as above, or carry
	out.failed = c.failed
	if out.err != nil {
		return out
	}
	if out.entry = c.shareable(out.resp); out.entry != nil {
		out.key = c.keyOf(out.entry)
		if rec, ok := out.resp.Body.(*recorder); ok {
			out.from, out.body = rec, newStream(rec)
			resp := *out.resp // a trailer would be written to the original
			out.resp = &resp
		}
		return out
	}
	if !rfc9111.FailedStatus(out.resp.StatusCode) {
		c.cache.alone.put(f.key, struct{}{}, c.cache.now().Add(hitForMiss))
	}
	return out
}

// panicked is the error, which is logged, of a panic in a fill's goroutine.
func panicked(v any) error { return fmt.Errorf("cache: a fill panicked: %v\n%s", v, debug.Stack()) }

// carry passes a body on as it arrives, records it, and stores it at its clean end: before its
// readers see that end, so that their next request finds it.
func (f *flight) carry(ctx context.Context) {
	s, err := f.out.body, error(nil)
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v) // readers get the error, which aborts their connections
		}
		_ = f.out.from.Close()
		f.cache.mu.Lock()
		f.landLocked()
		f.cache.mu.Unlock()
		s.end(err)
	}()
	err = f.copy(ctx)
}

// copy returns io.EOF at the clean end of the body. The last bytes, too, go out after the body is
// stored: a client that knows the length takes them for the end.
func (f *flight) copy(ctx context.Context) error {
	s, rec := f.out.body, f.out.from
	buffer := copyBuffers.Get().(*[copyAtOnce]byte)
	defer copyBuffers.Put(buffer) // nothing refers to it afterwards
	buf := buffer[:]
	for {
		n, err := rec.ReadCloser.Read(buf)
		recorded := rec.add(buf[:n])
		if !recorded {
			f.attended()
			if err := s.slide(ctx, buf[:n]); err != nil {
				return err
			}
		}
		body := rec.body
		if err != nil {
			err = rec.end(err)
		}
		if recorded && (err != nil || rec.got != rec.want) {
			s.grow(body)
		}
		if err != nil {
			return err
		}
	}
}

var copyBuffers = sync.Pool{New: func() any { return new([copyAtOnce]byte) }}

// persist keeps a flight running to its end for later requests, although the clients that it
// answered with a 304 need no body.
func (f *flight) persist() {
	t := f.cache
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flights[f.key] == f && !f.unattended && !f.outgrown && t.refreshes < maxRefreshes {
		f.unattended = true
		t.refreshes++
		f.limit = time.AfterFunc(refreshTimeout, f.attended)
	}
}

// attended makes a flight that will not be stored, or that takes too long, end when nobody waits.
func (f *flight) attended() {
	f.cache.mu.Lock()
	f.attendLocked()
	f.outgrown = true
	abandoned := f.waiting == 0
	f.cache.mu.Unlock()
	if abandoned {
		f.cancel()
	}
}

// discard reads and closes a response without a client, so that a recording is stored.
func discard(resp *http.Response) {
	defer func() { _ = recover() }() // nobody waits for it
	if _, ok := resp.Body.(*recorder); ok {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = resp.Body.Close()
}
