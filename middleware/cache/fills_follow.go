package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// errOtherBody ends a response whose rest cannot be had: the gateway that filled it has gone, and the
// upstream has another body by now.
var errOtherBody = errors.New("cache: the body changed while another gateway filled it")

// follow waits for the response that another gateway gets; false: it gets none for this request.
func (f *flight) follow(c *call) (out outcome, ok bool) {
	fill, found := c.awaitFill(f.key, headOnly)
	if found && c.mayFollow(fill.Entry) {
		return f.along(c, fill), true
	}
	e, err := c.cache.store.Get(c.req.Context(), c.ex.Plan.Key, (*sent)(c.ex))
	if err != nil || e.Entry == nil || e.Entry == c.stored || rfc9111.Reuse(&c.ex.Plan.Control, e.Entry.state(c.cache.now())) != rfc9111.Serve {
		return outcome{}, false
	}
	c.ex.Facts.Cache, c.ex.Facts.Tier = factHit, e.Tier
	status := hitStatus(e.Entry.remaining(c.cache.now()), e.Tier, shownKey(c.ex, c.ex.Plan.Key))
	return outcome{entry: e.Entry, key: c.keyOf(e.Entry), resp: c.answer(e.Entry, status)}, true //nolint:bodyclose // the leader closes it, or discard
}

// headOnly is the position of awaitFill before the body.
const headOnly = -1

// awaitFill returns the next news of another gateway's fill: its entry and, unless at is headOnly,
// more of its body than at bytes; false: there are none.
func (c *call) awaitFill(key string, at int64) (Fill, bool) {
	s, ctx, pause := c.cache.shared, c.req.Context(), minFollow
	type look struct {
		fill  Fill
		found bool
	}
	for {
		l, ok := askFills(ctx, s, func(ctx context.Context) (l look, err error) {
			l.fill, l.found, err = s.fills.Follow(ctx, key, max(at, 0))
			return l, err
		})
		switch {
		case !ok || !l.found:
			return Fill{}, false
		case l.fill.Entry != nil && (at == headOnly || len(l.fill.Body) > 0 || l.fill.Done):
			return l.fill, true
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxFollow)
		case <-ctx.Done():
			return Fill{}, false
		}
	}
}

// mayFollow reports whether another gateway's response is for this request.
func (c *call) mayFollow(e *Entry) bool {
	t := c.cache
	if !t.tags.trusts(e.Marks) || !t.tags.Valid(e.Marks) || !t.tags.Valid(e.Soft) || !e.Matches((*sent)(c.ex)) {
		return false
	}
	return rfc9111.Reuse(&c.ex.Plan.Control, e.state(t.now())) == rfc9111.Serve
}

// along is the outcome of a flight that reads along with another gateway's fill. It is kept in memory,
// as the other gateway puts it into the shared store.
func (f *flight) along(c *call, fill Fill) outcome {
	e, t := fill.Entry, c.cache
	t.tags.learn(e.Marks)
	t.tags.learn(e.Soft)
	resp := &http.Response{
		StatusCode: e.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, len(e.Header)+4), ContentLength: fill.Length, Request: c.req,
	}
	status := forwarded{why: c.ex.Plan.Forward, collapsed: true, key: shownKey(c.ex, c.ex.Plan.Key)}
	e.setHeader(resp.Header, t.now(), status.String(), rendering{status: e.Status})
	resp.Body = &along{call: c, key: f.key, fill: fill, read: sha256.New()}
	c.ex.Facts.Cache, c.filled, c.theirs = factCollapsed, e, true
	c.recordBody(resp, c.storeWhole(e))
	c.teach(resp)
	rec := resp.Body.(*recorder)
	return outcome{resp: resp, entry: e, key: c.keyOf(e), from: rec, body: newStream(rec)}
}

// along is the body of another gateway's fill. If that breaks off, its rest comes from the shared
// store, or from the upstream if that still has the same body.
type along struct {
	call *call
	key  string
	fill Fill      // the last news; its Body is unread
	at   int64     // end of its Body
	read hash.Hash // of everything read
	rest io.ReadCloser
}

// Read implements io.Reader.
func (a *along) Read(p []byte) (int, error) {
	for a.rest == nil {
		if len(a.fill.Body) > 0 {
			n := copy(p, a.fill.Body)
			_, _ = a.read.Write(p[:n]) // a hash never fails
			a.fill.Body, a.at = a.fill.Body[n:], a.at+int64(n)
			return n, nil
		}
		if a.fill.Done || a.at == a.fill.Length {
			return 0, io.EOF
		}
		next, found := a.call.awaitFill(a.key, a.at)
		if found && next.Entry.Received.Equal(a.fill.Entry.Received) {
			a.fill = next
			continue
		}
		rest, err := a.resume()
		if err != nil {
			return 0, err
		}
		a.rest = rest
	}
	return a.rest.Read(p)
}

// resume returns the rest of the body from somewhere else.
func (a *along) resume() (io.ReadCloser, error) {
	c, e := a.call, a.fill.Entry
	found, err := c.cache.store.Get(c.req.Context(), c.ex.Plan.Key, (*sent)(c.ex))
	if same := found.Entry; err == nil && same != nil && same.Received.Equal(e.Received) && int64(len(same.Body)) >= a.at {
		return io.NopCloser(bytes.NewReader(same.Body[a.at:])), nil
	}
	out, err := c.outbound()
	if err != nil {
		return nil, err
	}
	resp, err := c.ask(out, &head{})
	if err != nil {
		return nil, err
	}
	again := sha256.New()
	_, err = io.CopyN(again, resp.Body, a.at)
	if err != nil || resp.StatusCode != e.Status || resp.ContentLength != a.fill.Length || !bytes.Equal(again.Sum(nil), a.read.Sum(nil)) {
		return nil, errors.Join(errOtherBody, err, resp.Body.Close())
	}
	return resp.Body, nil
}

// Close implements io.Closer.
func (a *along) Close() error {
	if a.rest == nil {
		return nil
	}
	return a.rest.Close()
}
