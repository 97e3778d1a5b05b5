package cache

import (
	"context"
	"io"
	"net/http"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// seat is one request's part in a flight.
type seat struct {
	flight *flight
	ctx    context.Context // of the request
	stop   func() bool     // ends the watch of ctx
	left   bool            // guarded by flight.cache.mu
}

// seat makes a seat, which is left at the latest when the request ends: a handler that panics does
// not close bodies.
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
		select {
		case <-f.arrived:
		default:
			f.abandoned = true
		}
	}
	f.cache.mu.Unlock()
	s.stop()
	if abandoned {
		f.cancel()
	}
}

// await returns the request's response. errAlone, errAgain and errRetry mean that the flight has
// none for it.
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
	if err == nil && resp.StatusCode == http.StatusNotModified {
		f.persist()
	}
	if err != nil || resp.Body == nil || f.out.body == nil || resp.StatusCode != f.out.entry.Status {
		s.leave()
	}
	return resp, err
}

// orphan is called when the leader leaves without its response. A response that came meanwhile and
// that nobody shares ends here.
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

// lead returns the leader's response, with everything in it that is the leader's own.
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
	if short := c.notModified(resp); short != nil {
		s.flight.persist()
		_ = resp.Body.Close()
		return short, nil
	}
	return resp, nil
}

// join returns the response for a request that waited, if that may have it.
func (s *seat) join(c *call) (*http.Response, error) {
	out, now := &s.flight.out, c.cache.now()
	e := out.entry
	switch {
	case e == nil && out.failed != nil && c.stored != nil && c.mayServeFailed(out.failed.status, now):
		return c.servedStale(forwarded{why: forwardStale, collapsed: true, key: shownKey(c.ex, c.ex.Plan.Key), detail: "stale-if-error"}.String()), nil
	case e == nil && out.err != nil:
		return nil, errRetry
	case e == nil:
		return nil, errAlone
	case !e.Matches((*sent)(c.ex)), c.keyOf(e) != out.key, !c.cache.tags.Valid(e.Marks):
		return nil, errAgain
	}
	if rfc9111.Reuse(&c.ex.Plan.Control, e.state(now)) != rfc9111.Serve {
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

// owned is the body of a response for one request alone.
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
