package cache_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/middleware/cache"
)

var errAway = errors.New("away")

// modelStore is a shared store that works like internal/store/redis, and can fail like Redis.
type modelStore struct {
	plant string // a bug that is built in

	mu        sync.Mutex // guards what follows
	rnd       *rand.Rand
	refusing  bool
	hanging   bool
	queue     []func() // what a hanging store still has to do
	failLoads int
	held      modelData
	old       modelData                   // a copy that was made some time ago
	beats     map[*modelGateway]modelBeat // guarded by mu
	watchers  map[*modelWatcher]bool
	made      int           // incarnations
	servers   int           // processes
	behind    time.Duration // by which the clock of the present one is behind
}

// modelData is the store's content. Epoch and generations are one key, and so are lost together.
type modelData struct {
	epoch    failover.Epoch
	base     uint64
	seq      uint64 // of changes
	run      int    // the process that began it
	now, was map[uint16]uint64
	ids      map[string]uint64 // the base of the table in which each was made
	entries  map[string]*cache.Entry
}

func (d *modelData) table() cache.Table {
	return cache.Table{Position: cache.Position{Base: d.base, Seq: d.seq}}
}

func emptyData() modelData {
	return modelData{now: map[uint16]uint64{}, was: map[uint16]uint64{}, ids: map[string]uint64{}, entries: map[string]*cache.Entry{}}
}

func (d modelData) copied() modelData {
	d.now, d.was, d.ids, d.entries = maps.Clone(d.now), maps.Clone(d.was), maps.Clone(d.ids), maps.Clone(d.entries)
	return d
}

// modelWatcher is a subscription.
type modelWatcher struct {
	told   chan cache.Table
	broken chan struct{}
	dead   bool // it silently delivers nothing; guarded by modelStore.mu
}

func newModelStore(rnd *rand.Rand, plant string) *modelStore {
	return &modelStore{plant: plant, rnd: rnd, held: emptyData(), old: emptyData(), watchers: map[*modelWatcher]bool{}, beats: map[*modelGateway]modelBeat{}}
}

// modelBeat is a gateway's heartbeat.
type modelBeat struct {
	position cache.Position
	ends     time.Time
}

// modelLink is one gateway's connection to the store.
type modelLink struct {
	*modelStore
	cut  bool            // guarded by modelStore.mu
	deaf bool            // it silently loses changes; guarded by modelStore.mu
	life context.Context // of the gateway's present run
}

// ask makes the store run f. A store that hangs runs f when it continues, although nobody waits.
func ask[T any](ctx context.Context, l *modelLink, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	l.mu.Lock()
	lag := time.Duration(l.rnd.Int64N(int64(2 * time.Millisecond)))
	l.mu.Unlock()
	time.Sleep(lag)
	answered := make(chan answer, 1)
	do := func() {
		v, err := f()
		answered <- answer{v, err}
	}
	l.mu.Lock()
	switch {
	case l.refusing || l.cut:
		answered <- answer{err: errAway}
	case l.hanging:
		l.queue = append(l.queue, do)
	default:
		do()
	}
	l.mu.Unlock()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// heal makes the store work.
func (s *modelStore) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing, s.hanging = false, false
	for _, do := range s.queue {
		do()
	}
	s.queue = nil
}

// begin creates a table from the time, as epoch.lua does.
func (s *modelStore) begin(least uint64, lost bool) {
	if lost || s.held.base == 0 || s.held.base < least || s.held.run != s.servers {
		s.held.run = s.servers
		before := max(least, s.held.base)
		if s.held.base = uint64(time.Now().Add(-s.behind).UnixMicro()); s.held.base <= before {
			s.held.base = before + 1_000_000
		}
		if s.plant == "a table begins from nothing" {
			s.held.base = max(1, least)
		}
	}
}

// Probe increments the epoch, as probe.lua does.
func (l *modelLink) Probe(ctx context.Context) (failover.Epoch, error) {
	return l.touch(ctx, failover.Epoch{})
}

func (l *modelLink) touch(ctx context.Context, last failover.Epoch) (failover.Epoch, error) {
	return ask(ctx, l, func() (failover.Epoch, error) {
		e := &l.held.epoch
		lost := e.Incarnation == "" || e.Incarnation == last.Incarnation
		if lost {
			l.made++
			e.Incarnation = strconv.Itoa(l.made)
		}
		l.begin(0, lost)
		e.Server = strconv.Itoa(l.servers)
		e.Counter = max(e.Counter, last.Counter) + 1
		return *e, nil
	})
}

// Change implements cache.Counters, as cache_tags.lua does.
func (l *modelLink) Change(ctx context.Context, base uint64, changes []cache.Change) (cache.Table, error) {
	table, err := ask(ctx, l, func() (cache.Table, error) {
		if l.deaf {
			return cache.Table{}, context.DeadlineExceeded
		}
		l.begin(base, false)
		l.held.seq++
		t := l.held.table()
		for _, c := range changes {
			t.Marks = append(t.Marks, l.change(c))
		}
		for w := range l.watchers {
			if !w.dead {
				w.told <- t // far more room than there are purges
			}
		}
		return t, nil
	})
	if err != nil && l.plant == "an unanswered purge counts as made" {
		return cache.Table{Position: cache.Position{Base: base}, Marks: make([]cache.Mark, len(changes))}, nil
	}
	return table, err
}

func (s *modelStore) change(c cache.Change) cache.Mark {
	if c.Floor < s.held.base && c.Add == 0 {
		if s.plant != "what a lost table knew is dropped" {
			s.held.was[c.Slot] = max(s.held.was[c.Slot], c.Floor)
		}
		return cache.Mark{Slot: c.Slot, Gen: s.held.was[c.Slot]}
	}
	if s.plant == "a purge lifts above what the shared store knows alone" && c.ID != "" {
		c.Floor--
	}
	if c.ID != "" && s.held.ids[c.ID] == s.held.base {
		c.Floor, c.Add = c.Above+c.Add, 0
	}
	if c.ID != "" {
		s.held.ids[c.ID] = s.held.base
	}
	s.held.now[c.Slot] = max(s.held.now[c.Slot], s.held.base, c.Floor) + c.Add
	return cache.Mark{Slot: c.Slot, Gen: s.held.now[c.Slot]}
}

// Load implements cache.Counters.
func (l *modelLink) Load(ctx context.Context) (cache.Table, error) {
	return ask(ctx, l, func() (cache.Table, error) {
		if l.failLoads > 0 {
			l.failLoads--
			return cache.Table{}, errAway
		}
		t := l.held.table()
		for _, gens := range []map[uint16]uint64{l.held.now, l.held.was} {
			for slot, gen := range gens {
				t.Marks = append(t.Marks, cache.Mark{Slot: slot, Gen: gen})
			}
		}
		return t, nil
	})
}

// halfOpen is when a dead connection without a sign of it is given up.
const halfOpen = 10 * time.Second

// Watch implements cache.Counters.
func (l *modelLink) Watch(ctx context.Context, connected func(), changed func(cache.Table)) error {
	w := &modelWatcher{told: make(chan cache.Table, 1<<16), broken: make(chan struct{})}
	if _, err := ask(ctx, l, func() (struct{}, error) { l.watchers[w] = true; return struct{}{}, nil }); err != nil {
		return err
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, w)
	}()
	if l.plant != "nothing is read when listening begins" {
		connected()
	}
	life := l.life
	silent := time.NewTicker(halfOpen)
	defer silent.Stop()
	for {
		select {
		case m := <-w.told:
			changed(m)
		case <-silent.C:
			l.mu.Lock()
			dead := w.dead
			l.mu.Unlock()
			if dead {
				return errAway
			}
		case <-w.broken:
			return errAway
		case <-ctx.Done():
			if l.plant != "a dead connection is listened to" || life.Err() != nil {
				return ctx.Err()
			}
			ctx = life
		}
	}
}

// hush ends subscriptions, or leaves them open but dead.
func (s *modelStore) hush(dead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		if dead {
			w.dead = true
		} else {
			delete(s.watchers, w)
			close(w.broken)
		}
	}
}

// Get implements cache.Store.
func (l *modelLink) Get(ctx context.Context, key string, _ rfc9111.Fields) (cache.Found, error) {
	return ask(ctx, l, func() (cache.Found, error) {
		if e := l.held.entries[key]; e != nil {
			given := *e
			return cache.Found{Entry: &given}, nil
		}
		return cache.Found{}, nil
	})
}

// Put implements cache.Store.
func (l *modelLink) Put(ctx context.Context, key string, e *cache.Entry) error {
	kept := *e
	kept.Codings = nil
	_, err := ask(ctx, l, func() (struct{}, error) { l.held.entries[key] = &kept; return struct{}{}, nil })
	return err
}
