package proxy

import (
	"cmp"
	"container/list"
	"context"
	"math"
	"sync"
	"time"

	"github.com/jewgo/gateway/policy"
)

// Constants of a concurrency limit.
const (
	// window is how long answers are averaged, and leastAnswers how many there must be.
	window       = 100 * time.Millisecond
	leastAnswers = 10
	// Answers are slow if they take tolerance times as long as they used to, and slack more: requests wait.
	tolerance = 2
	slack     = 100 * time.Millisecond
	// baseShare is how much of a window counts in what answers usually take.
	baseShare = 0.05
)

// concurrency bounds the requests that an upstream has at once, between least and most. It follows what the
// upstream can do, as TCP does with a network: while answers take as long as usual the limit grows, and
// where they take much longer, requests only wait there, and it shrinks (after Netflix' Gradient2). So many
// as least are always let through. Others wait for their turn for a while.
type concurrency struct {
	least, most int
	wait        time.Duration // for a turn
	tight       func() bool   // resources are scarce: no more than least

	mu       sync.Mutex // guards what follows
	limit    float64
	inFlight int
	waiting  list.List // of turns, the oldest first
	refused  uint64
	usual    time.Duration // that an answer takes; 0: unknown
	// The current window:
	began   time.Time
	answers int
	took    time.Duration // all answers together
	peak    int           // most in flight
}

// turn is a request that waits. It is closed when the request may go.
type turn chan struct{}

func newConcurrency(def policy.Concurrency, tight func() bool) *concurrency {
	most := cmp.Or(def.Max, math.MaxInt32)
	return &concurrency{least: def.Min, most: most, wait: def.Wait.Std(), tight: tight, limit: float64(most)}
}

// enter reports whether a request may go to the upstream, and counts it until leave. It waits for its turn.
func (c *concurrency) enter(ctx context.Context) bool {
	c.mu.Lock()
	if c.roomLocked() && c.waiting.Len() == 0 {
		c.countLocked()
		c.mu.Unlock()
		return true
	}
	if c.wait == 0 || c.waiting.Len() >= c.most {
		c.refused++
		c.mu.Unlock()
		return false
	}
	mine := make(turn)
	place := c.waiting.PushBack(mine)
	c.mu.Unlock()
	late := time.NewTimer(c.wait)
	defer late.Stop()
	select {
	case <-mine:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-mine: // just now
		return true
	default:
	}
	c.waiting.Remove(place)
	c.refused++
	return false
}

func (c *concurrency) roomLocked() bool {
	return c.inFlight < c.least || c.inFlight < int(c.limit) && !c.tight()
}

func (c *concurrency) countLocked() {
	c.inFlight++
	c.peak = max(c.peak, c.inFlight)
}

func (c *concurrency) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	c.turnsLocked()
}

// turnsLocked lets those in whose turn it is.
func (c *concurrency) turnsLocked() {
	for c.waiting.Len() > 0 && c.roomLocked() {
		close(c.waiting.Remove(c.waiting.Front()).(turn))
		c.countLocked()
	}
}

// answered tells how long an answer has taken, up to its header.
func (c *concurrency) answered(took time.Duration, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers++
	c.took += took
	if c.answers < leastAnswers || now.Sub(c.began) < window {
		return
	}
	c.adjustLocked(c.took / time.Duration(c.answers))
	c.turnsLocked()
	c.began, c.answers, c.took, c.peak = now, 0, 0, c.inFlight
}

// adjustLocked ends a window in which an answer took so long on average.
func (c *concurrency) adjustLocked(took time.Duration) {
	switch {
	case c.usual == 0 || took < c.usual:
		c.usual = took
	case c.peak <= c.least: // nothing waits because of the limit: the upstream itself has become slower
		c.usual += time.Duration(baseShare * float64(took-c.usual))
	}
	bearable := tolerance*c.usual + slack
	switch {
	case took > bearable:
		shrunk := min(c.limit, float64(c.peak)) * max(0.5, float64(bearable)/float64(took))
		c.limit = max(float64(c.least), shrunk)
	case float64(c.peak) > c.limit/2:
		c.limit = min(float64(c.most), c.limit+math.Sqrt(c.limit))
	}
}

// Load is what an upstream has to do.
type Load struct {
	Upstream string
	InFlight int
	Limit    int // of requests in flight, at present
	Refused  uint64
}

func (c *concurrency) load(upstream string) Load {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Load{upstream, c.inFlight, int(c.limit), c.refused}
}
