package cache

import (
	"context"
	"slices"
	"time"
)

// changesAtOnce bounds one call of Counters.Change, so that it takes no more
// than milliseconds of the store.
const changesAtOnce = 2048

// retryInterval is the pause between tries to listen.
const retryInterval = 500 * time.Millisecond

// Replay implements failover.Backlog: the shared table is read, and gets back what it
// lacks. Listening begins anew, since the connection to a store that was away may be
// dead without a sign.
func (t *Tags) Replay() {
	t.unread.Store(true)
	if stop := t.watch.Load(); stop != nil {
		(*stop)()
	}
}

// Pending implements failover.Backlog.
func (t *Tags) Pending() bool { return t.unread.Load() || !t.unsent.empty() }

// Drain implements failover.Backlog: it learns what others purged, where that may have
// been missed, and repeats what was purged here without the shared store.
func (t *Tags) Drain(ctx context.Context) (err error) {
	read := t.unread.Swap(false)
	defer func() {
		if err != nil && read {
			t.unread.Store(true) // what it lacks is found out anew
		}
	}()
	var table Table
	if read {
		if table, err = t.cfg.Counters.Load(ctx); err != nil {
			return err
		}
		t.read(table)
	}
	// Taken out before generations are read: a purge in between puts its own in again.
	purges, changes := t.unsent.take(), []Change(nil)
	for _, p := range purges {
		// Above all that is known here, too: others may have purged the slot since,
		// and what was filled here meanwhile is to go.
		changes = append(changes, Change{Slot: p.Slot, Floor: t.local.get(p.Slot), Add: 1, Above: t.unsent.above(p.Slot), ID: p.id()})
	}
	defer t.unsent.end(purges)
	if err = t.send(ctx, changes, purges); err == nil && read {
		err = t.complete(ctx, table)
	}
	return err
}

// complete gives the shared table the generations that it lacks, since it is old or
// another one.
func (t *Tags) complete(ctx context.Context, table Table) error {
	base := t.base.Load()
	now, before := map[uint16]uint64{}, map[uint16]uint64{} // generations of this table, and of those before it
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
	if len(changes) == 0 && table.Base < base { // the clock by which it began is behind
		_, err := t.cfg.Counters.Change(ctx, base, nil)
		return err
	}
	return t.send(ctx, changes, nil)
}

// send makes changes in portions, the first of them for purges. Those that were not
// made are remembered.
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
		_ = t.keep(ctx, slices.Concat(made, known(table.Marks[:len(made)]))) // else they are repeated after a restart
		changes, purges = changes[n:], purges[len(made):]
	}
	return nil
}

// Run listens to the purges of others until ctx is done. Without Counters it returns
// at once.
func (t *Tags) Run(ctx context.Context) {
	if t.cfg.Counters == nil {
		return
	}
	// Messages may be lost while nobody listens: each time that listening begins,
	// the whole table is read.
	connected := func() {
		t.unread.Store(true)
		t.cfg.Switch.Wake()
	}
	for ctx.Err() == nil {
		watch, stop := context.WithCancel(ctx)
		t.watch.Store(&stop)
		_ = t.cfg.Counters.Watch(watch, connected, func(m Mark) { t.learn([]Mark{m}) })
		pause(watch, retryInterval)
		stop()
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
