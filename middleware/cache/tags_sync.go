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
// lacks.
func (t *Tags) Replay() { t.unread.Store(true) }

// Pending implements failover.Backlog.
func (t *Tags) Pending() bool { return t.unread.Load() || !t.unsent.empty() }

// Drain implements failover.Backlog: it learns what others purged, where that may have
// been missed, and repeats what was purged here without the shared store.
func (t *Tags) Drain(ctx context.Context) error {
	var shared map[uint16]uint64 // nil: it was not read
	var begins uint64            // the table, there
	if t.unread.Swap(false) {
		table, err := t.cfg.Counters.Load(ctx)
		if err != nil {
			t.unread.Store(true)
			return err
		}
		t.read(table)
		begins = table.Base
		shared = make(map[uint16]uint64, len(table.Marks))
		for _, m := range table.Marks {
			shared[m.Slot] = m.Gen
		}
	}
	var changes []Change
	base := t.base.Load()
	for i := range slots {
		slot := uint16(i)
		// Taken out before its generation is read: a purge in between puts it in
		// again.
		unsent := t.unsent.take(slot)
		gen := t.local.get(slot)
		switch {
		case unsent:
			// A purge of its own, not only a maximum: others may have purged the
			// slot to the same generation and filled since.
			changes = append(changes, Change{Slot: slot, Floor: gen - 1, Add: 1})
		case shared != nil && gen > max(shared[slot], base): // else it begins above that
			changes = append(changes, Change{Slot: slot, Floor: gen})
		}
	}
	err := t.send(ctx, changes)
	if err == nil && shared != nil && begins < base { // the clock by which it began is behind
		_, err = t.cfg.Counters.Change(ctx, base, nil)
	}
	if err != nil && shared != nil {
		t.unread.Store(true) // what it lacks is found out anew
	}
	return err
}

// send makes changes in portions. What was not made is remembered.
func (t *Tags) send(ctx context.Context, changes []Change) error {
	for len(changes) > 0 {
		n := min(len(changes), changesAtOnce)
		table, err := t.cfg.Counters.Change(ctx, t.base.Load(), changes[:n])
		if err != nil {
			t.remember(changes)
			return err
		}
		t.read(table)
		t.settle(ctx, changes[:n], table.Marks)
		changes = changes[n:]
	}
	return nil
}

// settle tells the journal that purges have arrived. If that fails they are
// repeated once more after a restart, which costs refills and nothing else.
func (t *Tags) settle(ctx context.Context, changes []Change, marks []Mark) {
	if t.cfg.Journal == nil {
		return
	}
	var repeated slotSet
	for _, c := range changes {
		if c.Add > 0 {
			repeated.add(c.Slot)
		}
	}
	marks = slices.DeleteFunc(marks, func(m Mark) bool { return !repeated.take(m.Slot) })
	if len(marks) > 0 {
		_ = t.cfg.Journal.Keep(ctx, marks, true)
	}
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
		_ = t.cfg.Counters.Watch(ctx, connected, func(m Mark) { t.learn([]Mark{m}) })
		pause(ctx, retryInterval)
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
