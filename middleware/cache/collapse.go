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

// flight is one request upstream for all who miss, or must validate, the same
// response at the same time. It belongs to the cache, not to the client that
// came first: it goes on as long as anybody waits for it. When nobody does it is
// cancelled, small or not, so that what clients abandon costs the upstream
// nothing that abandoned requests would not have cost. A refresh in the
// background is a flight that goes on unattended.
type flight struct {
	cache  *Cache
	key    string
	marks  []Mark // of its tags before the upstream was asked
	cancel context.CancelFunc

	waiting    int         // seats taken, guarded by cache.mu
	unattended bool        // goes on where nobody waits, guarded by cache.mu
	leader     *seat       // nil: none, or it has left; guarded by cache.mu
	next       *flight     // of those who waited, after a failure; guarded by cache.mu
	abandoned  bool        // cancelled before anything came, guarded by cache.mu
	outgrown   bool        // nothing of it will be stored, guarded by cache.mu
	limit      *time.Timer // of persist; guarded by cache.mu

	arrived chan struct{} // closed when out is set
	out     outcome
}

// outcome is what came of a flight.
type outcome struct {
	resp   *http.Response // for the leader
	err    error
	failed *failure // the upstream's, where an entry was to be validated
	facts  exchange.Facts

	entry *Entry    // for all; nil: the response is the leader's alone
	key   string    // that entry is stored under
	body  *stream   // of entry, as it comes; nil: entry has it
	from  *recorder // what body comes from
	leads *reader   // the leader's, of body
}

var (
	errAlone = errors.New("cache: what the others wait for is not for this request")
	errAgain = errors.New("cache: what the others wait for is of another variant or query, or purged")
	errRetry = errors.New("cache: what the others wait for failed, perhaps by the leader's own fields")
)

// collapse answers a miss or a validation together with others of its kind, or
// alone.
func (c *call) collapse() (*http.Response, error) {
	var failed *flight
	for range 3 { // once more where an answer taught by what it varies, and once after a failure
		s := c.board(failed)
		if s == nil {
			break
		}
		resp, err := s.await(c)
		switch {
		case errors.Is(err, errAgain):
			c.flight = "" // by what has been learned meanwhile
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

// solo asks for the call alone.
func (c *call) solo() (*http.Response, error) {
	resp, err := c.do()
	if err == nil {
		c.teach(resp)
	}
	return resp, err
}

// board gives the call a seat in the flight of its key, in a new one if there is
// none; nil: it goes alone. A purge ends boarding: who asks after it is to see
// what was written before it. All who waited for a flight that failed share the
// next one, however late they come to it.
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

// departLocked makes a flight, which run must carry out.
func (c *Cache) departLocked(key string, marks []Mark) *flight {
	f := &flight{cache: c, key: key, marks: marks, arrived: make(chan struct{})}
	c.flights[key] = f
	c.tasks.Add(1)
	return f
}

// followLocked makes next the flight of those who waited for f, if there was one.
func (f *flight) followLocked(next *flight) {
	if f != nil {
		f.next = next
	}
}

// bounded returns the context of the flight's request, which ends with the cache.
// How long the upstream may be silent is bounded where it is asked.
func (f *flight) bounded(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(f.cache.life, cancel)
	f.cancel = func() { stop(); cancel() }
	return ctx
}

// run carries a flight out: it asks, tells what came, and passes the body on.
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
		return // the response is the leader's, whose seat ends the flight
	}
	t.mu.Lock()
	f.landLocked()
	t.mu.Unlock()
	f.cancel()
}

// landLocked ends boarding.
func (f *flight) landLocked() {
	if f.cache.flights[f.key] == f {
		delete(f.cache.flights, f.key)
	}
	f.attendLocked()
}

// attendLocked makes the flight end with those who wait.
func (f *flight) attendLocked() {
	if f.unattended {
		f.unattended = false
		f.cache.refreshes--
	}
	if f.limit != nil {
		f.limit.Stop() // else it would hold the flight, and its body
	}
}

// ask asks the upstream, unless what is wanted was stored while the flight was
// made, and judges whether all may have the answer.
func (f *flight) ask(c *call) (out outcome) {
	defer func() {
		out.facts = c.ex.Facts
		if v := recover(); v != nil {
			out = outcome{err: panicked(v)}
		}
	}()
	if e := c.landed(); e != nil {
		c.ex.Facts.Cache = factHit
		status := hitStatus(e.remaining(c.ex.Plan.Now), tierLocal, shownKey(c.ex, c.ex.Plan.Key))
		return outcome{entry: e, key: c.keyOf(e), resp: c.answer(e, status)} //nolint:bodyclose // the leader closes it, or discard
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
			resp := *out.resp // a trailer, were one to come, would be written to the other
			out.resp = &resp
		}
		return out
	}
	if !rfc9111.FailedStatus(out.resp.StatusCode) {
		c.cache.alone.put(f.key, struct{}{}, c.cache.now().Add(hitForMiss))
	}
	return out
}

// panicked tells those who wait, and so the log, of a panic in a fill's goroutine.
func panicked(v any) error { return fmt.Errorf("cache: a fill panicked: %v\n%s", v, debug.Stack()) }

// carry passes a body on as it comes, records it, and stores it at its clean end:
// before its readers see that end, so that who asks next finds it.
func (f *flight) carry(ctx context.Context) {
	s, err := f.out.body, error(nil)
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v) // the readers are told, and their connections break off
		}
		_ = f.out.from.Close()
		f.cache.mu.Lock()
		f.landLocked()
		f.cache.mu.Unlock()
		s.end(err)
	}()
	err = f.copy(ctx)
}

// copy returns io.EOF at the clean end of the body. The last bytes go out after
// the body is stored, too: who knows its length takes them for the end.
func (f *flight) copy(ctx context.Context) error {
	s, rec := f.out.body, f.out.from
	buffer := copyBuffers.Get().(*[copyAtOnce]byte)
	defer copyBuffers.Put(buffer) // nobody keeps a part of it
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

// persist makes a flight go on to its end although those who were answered by a 304
// do not wait for it: they had no use for the body, and others will.
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

// attended makes a flight that nothing will be stored of, or that takes too long,
// end with those who wait.
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

// discard ends a response that nobody takes: what is recorded of it is stored.
func discard(resp *http.Response) {
	defer func() { _ = recover() }() // nobody waits for it
	if _, ok := resp.Body.(*recorder); ok {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = resp.Body.Close()
}
