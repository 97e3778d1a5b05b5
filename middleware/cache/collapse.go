package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"

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

	waiting    int   // seats taken, guarded by cache.mu
	unattended bool  // goes on where nobody waits, guarded by cache.mu
	leader     *seat // nil: none, or it has left; guarded by cache.mu

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
	body  *stream   // of entry, as it comes; nil: entry has it
	from  *recorder // what body comes from
	leads *reader   // the leader's, of body
}

var (
	errAlone = errors.New("cache: what the others wait for is not for this request")
	errAgain = errors.New("cache: what the others wait for is of another variant, or purged")
	errPanic = errors.New("cache: a fill panicked")
)

// collapse answers a miss or a validation together with others of its kind, or
// alone.
func (c *call) collapse() (*http.Response, error) {
	for range 2 { // once more where the first answer taught by what it varies
		s := c.board()
		if s == nil {
			break
		}
		resp, err := s.await(c)
		switch {
		case errors.Is(err, errAgain):
			continue
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
// what was written before it.
func (c *call) board() *seat {
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
	if f != nil && !t.tags.Valid(f.marks) {
		delete(t.flights, key)
		f = nil
	}
	switch {
	case f != nil && joins:
		f.waiting++
		return f.seat(c)
	case f != nil || !leads || alone || t.closed:
		return nil
	}
	f = t.departLocked(key, marks)
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
	if f.unattended {
		f.unattended = false
		f.cache.refreshes--
	}
}

// ask asks the upstream, unless what is wanted was stored while the flight was
// made, and judges whether all may have the answer.
func (f *flight) ask(c *call) (out outcome) {
	defer func() {
		out.facts = c.ex.Facts
		if v := recover(); v != nil {
			out = outcome{err: fmt.Errorf("%w: %v\n%s", errPanic, v, debug.Stack())}
		}
	}()
	if e := c.landed(); e != nil {
		c.ex.Facts.Cache = factHit
		status := hitStatus(e.remaining(c.ex.Plan.Now), tierLocal, shownKey(c.ex, c.ex.Plan.Key))
		return outcome{entry: e, resp: c.answer(e, status)}
	}
	out.resp, out.err = c.solo()
	out.failed = c.failed
	if out.err != nil {
		return out
	}
	if out.entry = c.shareable(out.resp); out.entry != nil {
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

// carry passes a body on as it comes, records it, and stores it at its clean end:
// before its readers see that end, so that who asks next finds it.
func (f *flight) carry(ctx context.Context) {
	s, err := f.out.body, errPanic
	defer func() {
		_ = recover() // the readers are told, and their connections break off
		_ = f.out.from.Close()
		f.cache.mu.Lock()
		f.landLocked()
		f.cache.mu.Unlock()
		s.end(err)
	}()
	err = f.copy(ctx)
}

// copy returns io.EOF at the clean end of the body.
func (f *flight) copy(ctx context.Context) error {
	s, rec, buf := f.out.body, f.out.from, make([]byte, copyAtOnce)
	for {
		n, err := rec.ReadCloser.Read(buf)
		if rec.add(buf[:n]) {
			s.grow(rec.body)
		} else {
			f.attended()
			if err := s.slide(ctx, buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return rec.end(err)
		}
	}
}

// attended makes a flight that nothing will be stored of end with those who wait.
func (f *flight) attended() {
	f.cache.mu.Lock()
	if f.unattended {
		f.unattended = false
		f.cache.refreshes--
	}
	abandoned := f.waiting == 0
	f.cache.mu.Unlock()
	if abandoned {
		f.cancel()
	}
}

// discard ends a response that nobody takes: what is recorded of it is stored.
func discard(resp *http.Response) {
	if _, ok := resp.Body.(*recorder); ok {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = resp.Body.Close()
}

// seat is one request's part in a flight.
type seat struct {
	flight *flight
	ctx    context.Context // of the request
	stop   func() bool     // ends the watch of ctx
	left   bool            // guarded by flight.cache.mu
}

// seat makes a seat, which is left when the request ends if not before: a
// handler that panics closes no body.
func (f *flight) seat(c *call) *seat {
	s := &seat{flight: f, ctx: c.req.Context()}
	s.stop = context.AfterFunc(s.ctx, s.leave)
	return s
}

// leave gives the seat up, once.
func (s *seat) leave() {
	f := s.flight
	f.cache.mu.Lock()
	if s.left {
		f.cache.mu.Unlock()
		return
	}
	s.left = true
	f.waiting--
	abandoned := f.waiting == 0 && !f.unattended
	if abandoned {
		f.landLocked()
	}
	f.cache.mu.Unlock()
	s.stop()
	if abandoned {
		f.cancel()
	}
}

// await gives the request its answer. errAlone and errAgain say that it gets
// none here.
func (s *seat) await(c *call) (*http.Response, error) {
	f := s.flight
	f.cache.mu.Lock()
	leads := f.leader == s
	f.cache.mu.Unlock()
	select {
	case <-f.arrived:
	case <-s.ctx.Done():
		if leads {
			f.orphan()
		}
		s.leave()
		return nil, context.Cause(s.ctx)
	}
	if leads {
		return s.lead(c)
	}
	resp, err := s.join(c)
	if err != nil || resp.Body == nil || f.out.body == nil || resp.StatusCode != f.out.entry.Status {
		s.leave()
	}
	return resp, err
}

// orphan is called as the leader leaves without its response. What came
// meanwhile, and is nobody else's, ends here.
func (f *flight) orphan() {
	f.cache.mu.Lock()
	f.leader = nil
	came := false
	select {
	case <-f.arrived:
		came = true
	default: // run will see that there is no leader
	}
	f.cache.mu.Unlock()
	switch {
	case !came:
	case f.out.leads != nil:
		f.out.leads.detach()
	case f.out.entry == nil && f.out.resp != nil:
		_ = f.out.resp.Body.Close()
	}
}

// lead gives the leader its response, with all that is its own in it.
func (s *seat) lead(c *call) (*http.Response, error) {
	out := &s.flight.out
	c.takeFacts(&out.facts)
	if out.err != nil {
		s.leave()
		return nil, out.err
	}
	resp := out.resp
	resp.Request = c.req
	if out.body == nil {
		resp.Body = &owned{resp.Body, s}
	} else {
		resp.Body = out.leads
	}
	return resp, nil
}

// join gives a request that waited its response, if it may have that.
func (s *seat) join(c *call) (*http.Response, error) {
	out, now := &s.flight.out, c.cache.now()
	e := out.entry
	switch {
	case e == nil && out.failed != nil && c.stored != nil && c.mayServeFailed(out.failed.status, now):
		return c.servedStale(forwarded{why: forwardStale, collapsed: true, key: shownKey(c.ex, c.ex.Plan.Key), detail: "stale-if-error"}.String()), nil
	case e == nil && out.err != nil:
		return nil, out.err
	case e == nil:
		return nil, errAlone
	case !e.Matches(c.ex.View.Header), !c.cache.tags.Valid(e.Marks):
		return nil, errAgain
	}
	cc := requestControl(c.ex)
	if rfc9111.Reuse(&cc, e.state(now)) != rfc9111.Serve {
		return nil, errAlone
	}
	c.ex.Facts.Cache = factCollapsed
	resp := c.answer(e, forwarded{why: c.ex.Plan.Forward, collapsed: true, key: shownKey(c.ex, c.ex.Plan.Key)}.String())
	if out.body == nil || resp.StatusCode != e.Status { // a 304 has no body
		return resp, nil
	}
	r, ok := out.body.reader(s)
	if !ok {
		return nil, errAlone
	}
	resp.Body, resp.ContentLength = r, out.from.want
	return resp, nil
}

// owned is the body of a response that is one request's alone.
type owned struct {
	io.ReadCloser
	seat *seat
}

// Close implements io.Closer.
func (o *owned) Close() error {
	err := o.ReadCloser.Close()
	o.seat.leave()
	return err
}
