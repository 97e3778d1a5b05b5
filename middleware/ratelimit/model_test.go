package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
)

// The ways in which a store fails to answer.
var (
	errRefused  = errors.New("connection refused")
	errRejected = errors.New("a script's error")
)

func classify(err error) failover.Kind {
	switch {
	case errors.Is(err, errRefused):
		return failover.Fault
	case errors.Is(err, errRejected):
		return failover.Rejection
	}
	return failover.Timeout
}

// contents is what a store may lose.
type contents struct {
	tats    map[string]int64
	settled map[string]bool // by ID
	epoch   failover.Epoch
}

func (c contents) clone() contents {
	n := contents{tats: map[string]int64{}, settled: map[string]bool{}, epoch: c.epoch}
	maps.Copy(n.tats, c.tats)
	maps.Copy(n.settled, c.settled)
	return n
}

// sharedStore is the store that all gateways ask: exact, with epochs and a barrier as in Redis. Its
// clock is the bubble's plus an offset.
type sharedStore struct {
	mu sync.Mutex
	contents
	skew   time.Duration
	upAt   time.Time
	lives  int
	added  map[string]time.Duration // by key: charged by settlements
	forget bool                     // mutation: settlements are not remembered
}

func (s *sharedStore) now() int64 { return time.Now().Add(s.skew).UnixNano() }

// ahead is how far the TAT of key is ahead of the store's clock.
func (s *sharedStore) ahead(key string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(max(s.tats[key]-s.now(), 0))
}

func (s *sharedStore) take(charges []ratelimit.Charge) []gcra.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, refused := s.now(), false
	results, next := make([]gcra.Result, len(charges)), make([]int64, len(charges))
	for i, c := range charges {
		// A TAT too far ahead is cut down for good, not only for this answer.
		s.tats[c.Key] = min(s.tats[c.Key], now+int64(c.Quota.Whole()))
		next[i], results[i] = c.Quota.Take(s.tats[c.Key], now, c.Cost)
		refused = refused || !results[i].Allowed && !c.Shadow
	}
	for i, c := range charges {
		r := &results[i]
		switch {
		case refused && r.Allowed:
			_, level := c.Quota.Take(s.tats[c.Key], now, 0)
			r.Remaining, r.ResetAfter = level.Remaining, level.ResetAfter
		case r.Allowed:
			r.Extra = min(c.Extra, r.Remaining/2)
			s.tats[c.Key] = next[i] + int64(r.Extra)*int64(c.Quota.Interval())
			r.ResetAfter = time.Duration(s.tats[c.Key] - now)
		}
	}
	return results
}

func (s *sharedStore) settle(owed []ratelimit.Settlement) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole := make([]time.Duration, len(owed))
	for i, o := range owed {
		now := s.now()
		tat := max(s.tats[o.Key], now+int64(o.Debt.AtLeast))
		if !s.settled[o.ID] || s.forget {
			tat += int64(o.Debt.Add)
			s.added[o.Key] += o.Debt.Add
		}
		s.settled[o.ID] = true
		s.tats[o.Key] = min(max(tat, now), now+int64(o.Debt.Quota.Whole()))
		whole[i] = time.Duration(s.tats[o.Key] - now)
	}
	return whole
}

func (s *sharedStore) probe(not string, above int64) failover.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &s.epoch
	if e.Incarnation == "" || e.Incarnation == not {
		s.lives++
		e.Incarnation = fmt.Sprint("life ", s.lives)
	}
	e.Counter, e.Server = max(e.Counter, above)+1, "one"
	return *e
}

func (s *sharedStore) barrier() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.After(s.upAt.Add(600 * time.Millisecond)) {
		s.upAt = now.Add(400 * time.Millisecond)
	}
	return max(time.Until(s.upAt), 0)
}

func (s *sharedStore) lose(to contents) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contents, s.upAt = to.clone(), time.Time{}
}

// The ways in which a gateway's link to the store fails.
const (
	works = iota
	refuses
	hangs
	losesReplies // after the store has executed the request
	rejects      // calls, not probes: the Switch stays Up
)

// link is one gateway's connection. The test sets its fault.
type link struct {
	store *sharedStore
	fault atomic.Int32
	mute  bool // mutation: settlements are dropped and said to be made
}

func call[T any](ctx context.Context, l *link, probe bool, do func() T) (T, error) {
	var none T
	switch l.fault.Load() {
	case refuses:
		return none, errRefused
	case losesReplies:
		do()
		fallthrough
	case hangs:
		<-ctx.Done()
		return none, ctx.Err()
	case rejects:
		if !probe {
			return none, errRejected
		}
	}
	return do(), nil
}

func (l *link) Take(ctx context.Context, charges []ratelimit.Charge, results []gcra.Result) ([]gcra.Result, error) {
	r, err := call(ctx, l, false, func() []gcra.Result { return l.store.take(charges) })
	return append(results, r...), err
}

func (l *link) Settle(ctx context.Context, owed []ratelimit.Settlement) ([]time.Duration, error) {
	if l.mute {
		return make([]time.Duration, len(owed)), nil
	}
	return call(ctx, l, false, func() []time.Duration { return l.store.settle(owed) })
}

func (l *link) Refund(context.Context, []ratelimit.Charge) error  { return nil }
func (l *link) Return(context.Context, []ratelimit.LeaseOf) error { return nil }

// gateway is a real Limiter with a real Switch over a link.
type gateway struct {
	*link
	limiter *ratelimit.Limiter
	sw      *failover.Switch
	local   *ratelimit.Table
	stop    func()
	born    time.Time
	own     map[string]*meter // what it admitted since its start
	alone   map[string]int    // tokens admitted without the store in this life
}

// meter is the worst excess of any window: what was admitted, less r times the window's length. It
// is a bucket that leaks at r and never overflows.
type meter struct {
	q            gcra.Quota
	level, worst time.Duration
	at           time.Time
}

func (m *meter) add(at time.Time, cost int) {
	m.leak(at)
	m.level += time.Duration(cost) * m.q.Interval()
	m.worst = max(m.worst, m.level)
}

func (m *meter) leak(now time.Time) { m.level, m.at = max(m.level-now.Sub(m.at), 0), now }

func (m *meter) tokens() float64 { return float64(m.worst) / float64(m.q.Interval()) }

// world is some gateways over one store, and what they admitted.
type world struct {
	t        *rapid.T
	class    *class
	store    *sharedStore
	gateways []*gateway
	keys     map[string]*meter
	names    []string
	lease    policy.Lease
	dearest  int // cost that any request has
	n        atomic.Int32
	least    int // of n

	admittedAlone map[string]int          // tokens, by key
	aloneWays     map[string]map[int]bool // gateways that admitted alone, by key
	losses        int                     // of the store's contents, and jumps of its clock
	restarts      int
	changes       int  // of n
	farAhead      bool // stored TATs may be further ahead than the quota allows
	outages       int
	firstCut      time.Time
	beside        time.Duration // that gateways were alone for beside others, in shares
	apart         time.Duration // that any gateway was alone for
	ids           int
	copy          contents
}

func newWorld(t *rapid.T, c *class) *world {
	w := &world{
		t: t, class: c, keys: map[string]*meter{}, admittedAlone: map[string]int{}, aloneWays: map[string]map[int]bool{},
		store: &sharedStore{added: map[string]time.Duration{}, contents: contents{tats: map[string]int64{}, settled: map[string]bool{}}},
	}
	w.store.forget = c.mutation.forget
	gateways := rapid.IntRange(c.gateways[0], c.gateways[1]).Draw(t, "gateways")
	n := gateways
	if c.believes != nil {
		n = max(1, c.believes(t, gateways))
	}
	w.dearest = rapid.IntRange(1, 3).Draw(t, "dearest")
	w.lease = rapid.SampledFrom([]policy.Lease{policy.NoLease, 2, 10, policy.AutoLease}).Draw(t, "lease")
	most := 10
	if w.lease == policy.AutoLease {
		most = 100 // below 20 nothing is leased
	}
	for i := range 2 {
		burst := rapid.IntRange(n*w.dearest, most*n*w.dearest).Draw(t, "burst")
		if c.small {
			burst = rapid.IntRange(w.dearest, n*w.dearest).Draw(t, "small burst")
		}
		whole := time.Duration(rapid.SampledFrom([]int{1, 4, 10, 20}).Draw(t, "whole")) * time.Second
		name := string(rune('a' + i))
		w.names = append(w.names, name)
		w.keys[name] = &meter{q: gcra.Quota{Rate: burst, Period: whole, Burst: burst}}
		w.aloneWays[name] = map[int]bool{}
	}
	w.n.Store(int32(n))
	w.least = n
	w.copy = w.store.clone()
	for range gateways {
		w.gateways = append(w.gateways, nil)
		w.start(len(w.gateways) - 1)
	}
	w.sleep(time.Second)
	return w
}

// start creates gateway i anew.
func (w *world) start(i int) {
	g := &gateway{born: time.Now(), link: &link{store: w.store, mute: w.class.mutation.mute}, local: ratelimit.NewTable(1024), own: map[string]*meter{}, alone: map[string]int{}}
	if old := w.gateways[i]; old != nil {
		old.stop()
		g.fault.Store(old.fault.Load())
	}
	g.sw = failover.New(failover.Config{
		Classify: classify,
		Probe: func(ctx context.Context) (failover.Epoch, error) {
			return call(ctx, g.link, true, func() failover.Epoch { return w.store.probe("", 0) })
		},
		Renew: func(ctx context.Context, last failover.Epoch) (failover.Epoch, error) {
			return call(ctx, g.link, true, func() failover.Epoch { return w.store.probe(last.Incarnation, last.Counter) })
		},
		Barrier: func(ctx context.Context) (time.Duration, error) {
			return call(ctx, g.link, true, w.store.barrier)
		},
	})
	w.ids++
	g.limiter = ratelimit.New(ratelimit.Config{
		Switch: g.sw, Remote: g.link, Local: g.local, Now: time.Now, ID: fmt.Sprint("gateway ", w.ids),
		Replicas: func() int {
			if w.class.mutation.whole {
				return 1
			}
			return int(w.n.Load())
		},
		Count: func(c ratelimit.Charge, by ratelimit.Decider, allowed bool) {
			if by == ratelimit.Share && allowed {
				g.alone[c.Key] += c.Cost
				w.admittedAlone[c.Key] += c.Cost
				w.aloneWays[c.Key][i] = true
			}
		},
	})
	for name, m := range w.keys {
		g.own[name] = &meter{q: m.q}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.sw.Run(ctx) })
	g.stop = func() { cancel(); running.Wait() }
	w.gateways[i] = g
}

func (w *world) stop() {
	for _, g := range w.gateways {
		g.stop()
	}
}

// ask makes one request at gateway i, which charges the keys. It returns the longest wait that it
// was told; 0: admitted. It counts from its arrival, up to the budget before its decision.
func (w *world) ask(i, cost int, keys ...string) (wait time.Duration) {
	g := w.gateways[i]
	charges := make([]ratelimit.Charge, len(keys))
	for k, key := range keys {
		charges[k] = ratelimit.Charge{Limit: key, Key: key, Quota: w.keys[key].q, Cost: cost, Lease: w.lease}
	}
	at := time.Now()
	ctx := exchange.With(context.Background(), &exchange.Exchange{})
	var results []gcra.Result
	var err error
	w.pass(func() { results, err = g.limiter.Take(ctx, charges, nil) })
	if err != nil || len(results) != len(keys) {
		w.fatalf("%d results for %d charges, %v", len(results), len(keys), err)
	}
	for k, r := range results {
		if r.Remaining < 0 || r.Remaining > charges[k].Quota.Burst || r.ResetAfter < 0 || r.Allowed != (r.RetryAfter == 0) {
			w.fatalf("result %+v", r)
		}
		wait = max(wait, r.RetryAfter)
		if !r.Allowed {
			w.judgeRefusal(i, cost, keys[k])
		}
	}
	if wait > 0 {
		return wait
	}
	for _, key := range keys {
		w.judgeLeases(key)
		w.keys[key].add(at, cost)
		g.own[key].add(at, cost)
		if g.own[key].worst > g.own[key].q.Whole() {
			w.fatalf("gateway %d alone admitted %.1f tokens of %q beyond its rate, the burst is %d", i, g.own[key].tokens(), key, g.own[key].q.Burst)
		}
		if bound := w.bound(key); w.keys[key].tokens() > bound+1e-6 {
			w.fatalf("%s: %.2f tokens of %q beyond the rate in some window, bound %.2f: %+v", w.class.name, w.keys[key].tokens(), key, bound, w.keys[key].q)
		}
	}
	return 0
}

// judgeRefusal checks, where nothing fails, that no token is lost: a refused token is leased to
// another gateway, except for fractions of tokens.
func (w *world) judgeRefusal(i, cost int, key string) {
	if !w.class.faultless {
		return
	}
	m := w.keys[key]
	m.leak(time.Now())
	left := float64(m.q.Whole()-m.level) / float64(m.q.Interval())
	for j, g := range w.gateways {
		g.local.Peek(key, func(b *gcra.Bucket) {
			if j != i {
				left -= float64(b.State(g.now()).Leased)
			}
		})
	}
	// For each gateway: a lease that lapsed below what others took meanwhile, and for that and the
	// next one a rest that is less than a request's cost.
	lost := float64(2 * len(w.gateways) * w.dearest)
	if len(w.gateways) > 1 {
		lost += float64(len(w.gateways) * w.lease.Of(m.q.Burst, w.least))
	}
	if left >= float64(cost)+lost {
		w.fatalf("gateway %d refused %d of %q, of which %.2f are neither admitted nor leased: %+v", i, cost, key, left, m.q)
	}
}

// judgeLeases checks that the gateways do not prepay more of a key than they may. One that has
// learnt of others keeps what it has.
func (w *world) judgeLeases(key string) {
	leased := 0
	for _, g := range w.gateways {
		g.local.Peek(key, func(b *gcra.Bucket) { leased += b.State(g.now()).Leased })
	}
	if most := len(w.gateways) * w.lease.Of(w.keys[key].q.Burst, w.least); leased > most {
		w.fatalf("%d tokens of %q are leased, at most %d may be", leased, key, most)
	}
}

// now is the time on a gateway's buckets' clock, which starts an hour earlier.
func (g *gateway) now() int64 { return int64(time.Since(g.born) + time.Hour) }

// sleep lets time pass.
func (w *world) sleep(d time.Duration) {
	for d > 0 {
		step := min(d, 200*time.Millisecond)
		w.pass(func() {
			time.Sleep(step)
			synctest.Wait()
		})
		d -= step
	}
}

// pass adds up how long gateways are without the store while f runs.
func (w *world) pass(f func()) {
	before, start := w.alone(), time.Now()
	f()
	d, k := time.Since(start), 0
	for i, after := range w.alone() {
		if before[i] || after {
			k++
		}
	}
	if k > 0 {
		w.apart += d
	}
	rates := float64(k) / float64(w.least)
	if k < len(before) {
		rates++
	}
	w.beside += time.Duration(math.Max(rates-1, 0) * float64(d))
}

// alone reports which gateways are without the store, wholly or in part.
func (w *world) alone() []bool {
	alone := make([]bool, len(w.gateways))
	for i, g := range w.gateways {
		alone[i] = !g.sw.Up() || g.fault.Load() != works
	}
	return alone
}
