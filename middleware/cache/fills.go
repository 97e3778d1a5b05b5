package cache

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/failover"
)

const (
	// fillLease is how long a gateway is taken to fill a key after it was last heard of.
	fillLease = 2 * time.Second
	// minFollow and maxFollow bound the time between two looks at another gateway's fill.
	minFollow, maxFollow = 5 * time.Millisecond, 50 * time.Millisecond
)

// Fills says which gateway fills a key, so that others read along instead of asking the upstream too.
// A fill ends by itself, a lease after it was last told of. The caller bounds the time through ctx.
type Fills interface {
	// Claim makes owner the one that fills key, and reports whether it is: another may fill it.
	Claim(ctx context.Context, key, owner string, lease time.Duration) (mine bool, err error)
	// Tell adds to owner's fill, and reports whether anyone reads along. If nobody does, Done ends the
	// fill. Else it holds once the whole body was told.
	Tell(ctx context.Context, key, owner string, news Fill, lease time.Duration) (followed bool, err error)
	// Drop ends owner's fill: others get no response from it.
	Drop(ctx context.Context, key, owner string) error
	// Follow returns the fill of a key with its body from at on, and notes that somebody reads along.
	Follow(ctx context.Context, key string, at int64) (fill Fill, found bool, err error)
}

// Fill is a response on its way, or news of it.
type Fill struct {
	Entry  *Entry // without its body; nil: unknown yet, or told before
	Length int64  // of the body; -1: unknown; known if Done
	At     int64  // position of Body
	Body   []byte
	Done   bool // the body is complete
}

// shared is a Cache's access to Fills.
type shared struct {
	fills  Fills
	health *failover.Switch
	id     string      // of this gateway
	others func() bool // there are other gateways
	count  atomic.Uint64
}

// owner names a new fill.
func (s *shared) owner() string { return s.id + "-" + strconv.FormatUint(s.count.Add(1), 36) }

// askFills asks the shared store on a budget of its own: no client waits for its answer.
func askFills[T any](ctx context.Context, s *shared, ask func(context.Context) (T, error)) (v T, answered bool) {
	ctx = context.WithValue(ctx, failover.BudgetKey{}, &failover.Budget{})
	v, answered, err := failover.Offer(ctx, s.health, ask)
	return v, answered && err == nil
}

// claim reports whether another gateway fills the flight's key. If this one does, it is told of.
func (f *flight) claim(c *call) (theirs bool) {
	s := f.cache.shared
	if s == nil || !s.others() {
		return false
	}
	owner := s.owner()
	mine, ok := askFills(c.req.Context(), s, func(ctx context.Context) (bool, error) {
		return s.fills.Claim(ctx, f.key, owner, fillLease)
	})
	if ok && mine {
		f.cache.begin(func() { f.tell(owner) })
	}
	return ok && !mine
}

// tell tells other gateways of the flight until it has ended.
func (f *flight) tell(owner string) {
	s, ctx := f.cache.shared, f.cache.life
	say := func(news Fill) (followed, ok bool) {
		return askFills(ctx, s, func(ctx context.Context) (bool, error) { return s.fills.Tell(ctx, f.key, owner, news, fillLease) })
	}
	drop := func() {
		_, _ = askFills(ctx, s, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.fills.Drop(ctx, f.key, owner) }) // else it ends by itself
	}
	for waiting := true; waiting; {
		select {
		case <-f.arrived:
			waiting = false
		case <-time.After(fillLease / 4):
			if _, ok := say(Fill{}); !ok {
				return
			}
		case <-ctx.Done():
			return
		}
	}
	out := &f.out
	if out.entry == nil || out.body == nil || out.from.want > maxShared {
		drop() // others find what is stored, or ask themselves
		return
	}
	news, followed := Fill{Entry: out.entry, Length: out.from.want}, false
	for {
		data, more, err := out.body.since(news.At)
		if err != nil && !errors.Is(err, io.EOF) || news.At+int64(len(data)) > maxShared {
			drop()
			return
		}
		if news.Body, news.Done = nil, err != nil; followed {
			if news.Body = data; len(data) > 0 && !f.cache.store.room(len(data)) {
				drop()
				return
			}
		}
		if news.Done {
			news.Length = news.At + int64(len(data))
		}
		was := followed
		var ok bool
		followed, ok = say(news)
		if !ok || news.Done && followed == was {
			return
		}
		news.Entry, news.At = nil, news.At+int64(len(news.Body))
		if followed != was {
			continue // send what there is
		}
		select {
		case <-more:
		case <-time.After(maxFollow): // somebody may read along by now
		case <-ctx.Done():
			return
		}
	}
}
