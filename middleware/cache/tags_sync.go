package cache

import (
	"context"
	"slices"
	"sync"
	"time"
)

// changesAtOnce bounds one call of Counters.Change, so that it takes the store only milliseconds.
const changesAtOnce = 2048

// retryInterval is the pause between attempts to listen.
const retryInterval = 500 * time.Millisecond

// Replay implements failover.Backlog: the shared table is to be read and completed. Listening
// starts anew, since the connection to a store that was unavailable may be dead without notice.
func (t *Tags) Replay() {
	t.unread.Store(true)
	if stop := t.watch.Load(); stop != nil {
		(*stop)()
	}
}

// Pending implements failover.Backlog.
func (t *Tags) Pending() bool { return t.unread.Load() || t.unsent.len() > 0 }

// Waiting implements failover.Backlog: it counts the tags that were purged without the shared store.
func (t *Tags) Waiting() int { return t.unsent.len() }

// Drain implements failover.Backlog: it learns the purges of others that it may have missed, and
// repeats purges that were made here without the shared store.
func (t *Tags) Drain(ctx context.Context) (err error) {
	t.repair.Store(true)
	read := t.unread.Swap(false)
	defer func() {
		if err != nil && read {
			t.unread.Store(true) // read it again to see what it lacks
		}
		t.repair.Store(false)
	}()
	var table Table
	if read {
		if table, err = t.cfg.Counters.Load(ctx); err != nil {
			return err
		}
		t.read(table)
		t.known.loaded(table.Position)
	}
	// Taken out before the generations are read: a purge in between adds itself again.
	purges, changes := t.unsent.take(), []Change(nil)
	for _, p := range purges {
		// Above all generations known here: others may have purged the slot since, and entries
		// filled here meanwhile must be invalidated.
		changes = append(changes, Change{Slot: p.Slot, Floor: t.local.get(p.Slot), Add: 1, Above: t.unsent.above(p.Slot), ID: p.id()})
	}
	defer t.unsent.end(purges)
	if err = t.send(ctx, changes, purges); err == nil && read {
		err = t.complete(ctx, table)
	}
	return err
}

// complete gives the shared table the generations that it lacks because it is old, or a new one.
func (t *Tags) complete(ctx context.Context, table Table) error {
	base := t.base.Load()
	now, before := map[uint16]uint64{}, map[uint16]uint64{} // generations of this table, and of earlier ones
	for _, m := range table.Marks {
		if m.Gen < base {
			before[m.Slot] = max(before[m.Slot], m.Gen)
		} else {
			now[m.Slot] = m.Gen
		}
	}
	var changes []Change
	for i := range slots {
		slot := uint16(i)
		gen := t.local.get(slot)
		if gen > base && gen > now[slot] || gen > 0 && gen < base && gen > before[slot] { // most are 0
			changes = append(changes, Change{Slot: slot, Floor: gen})
		}
	}
	if len(changes) == 0 && table.Base < base { // the clock that gave its Base is behind
		_, err := t.cfg.Counters.Change(ctx, base, nil)
		return err
	}
	return t.send(ctx, changes, nil)
}

// send makes changes in batches, the first of them for purges. Purges that fail are remembered.
func (t *Tags) send(ctx context.Context, changes []Change, purges []Purge) error {
	for len(changes) > 0 {
		n := min(len(changes), changesAtOnce)
		table, err := t.cfg.Counters.Change(ctx, t.base.Load(), changes[:n])
		if err != nil {
			t.remember(purges)
			return err
		}
		t.read(table)
		made := purges[:min(n, len(purges))]
		for i := range made {
			made[i].Known = true
		}
		_ = t.keep(ctx, slices.Concat(made, knownPurges(table.Marks[:len(made)]))) // otherwise a restart repeats them
		changes, purges = changes[n:], purges[len(made):]
	}
	return nil
}

// Run listens for purges of other gateways until ctx is done. Without Counters it returns at once.
func (t *Tags) Run(ctx context.Context) {
	if t.cfg.Counters == nil {
		return
	}
	// Messages may be lost while it is not listening, so each new connection reads the whole table.
	connected := func() {
		t.unread.Store(true)
		t.cfg.Switch.Wake()
	}
	for ctx.Err() == nil {
		watch, stop := context.WithCancel(ctx)
		t.watch.Store(&stop)
		_ = t.cfg.Counters.Watch(watch, connected, func(change Table) {
			t.learn(change.Marks)
			if !t.known.heard(change.Position) {
				connected() // changes were missed
			}
		})
		pause(watch, retryInterval)
		stop()
	}
}

// Position is how much of the shared table this gateway knows and obeys. Zero: nothing yet. While it
// makes purges of its own that the shared store does not know, its generations may be above those of
// other gateways' purges, which then invalidate nothing here until its own are known.
func (t *Tags) Position() Position {
	t.known.mu.Lock()
	seen := t.known.seen
	t.known.mu.Unlock()
	if !t.unsent.idle() { // asked after seen was read: a purge that begins later cannot hide what was learned
		return Position{}
	}
	return seen
}

// known is what is known of the shared table's changes.
type known struct {
	mu     sync.Mutex // guards what follows
	seen   Position   // all changes up to here were learned
	latest Position   // there are changes up to here
}

// exists records that a change was made.
func (k *known) exists(p Position) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.after(k.latest) {
		k.latest = p
	}
}

// loaded records that the whole table was learned.
func (k *known) loaded(p Position) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.after(k.seen) {
		k.seen = p
	}
}

// heard records a single change. It reports whether no change before it is missing.
func (k *known) heard(p Position) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := Position{k.seen.Base, k.seen.Seq + 1}
	if p == next {
		k.seen = p
	}
	return p == next || !p.after(k.seen)
}

func (p Position) after(q Position) bool { return p.Base > q.Base || p.Base == q.Base && p.Seq > q.Seq }

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
