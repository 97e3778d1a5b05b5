package cache

import (
	"context"
	"slices"
	"time"
)

// changesAtOnce bounds one call of Counters.Change, so that it takes no more
// than milliseconds of the store.
const changesAtOnce = 2048

// retryInterval is the pause between tries to reach a store that refuses.
const retryInterval = 500 * time.Millisecond

// Rejoin brings this gateway and the shared generations together: it learns
// what others purged, repeats what was purged here while the store was away, and
// writes back what the store has lost.
func (t *Tags) Rejoin(ctx context.Context) error {
	marks, err := t.cfg.Counters.Load(ctx)
	if err != nil {
		return err
	}
	t.learn(marks)
	shared := make(map[uint16]uint64, len(marks))
	for _, m := range marks {
		shared[m.Slot] = m.Gen
	}
	var changes []Change
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
		case gen > shared[slot]:
			changes = append(changes, Change{Slot: slot, Floor: gen})
		}
	}
	return t.send(ctx, changes)
}

// send makes changes in portions. What was not made is remembered.
func (t *Tags) send(ctx context.Context, changes []Change) error {
	for len(changes) > 0 {
		n := min(len(changes), changesAtOnce)
		marks, err := t.cfg.Counters.Change(ctx, changes[:n])
		if err != nil {
			t.remember(changes)
			return err
		}
		t.learn(marks)
		t.settle(ctx, changes[:n], marks)
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

// Run listens to the purges of others and repeats those of this gateway that the
// store has missed, until ctx is done. Without Counters it returns at once.
func (t *Tags) Run(ctx context.Context) {
	if t.cfg.Counters == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.resend(ctx)
	}()
	for ctx.Err() == nil {
		// Messages may be lost while nobody listens: each time that listening
		// begins, the whole table is read.
		_ = t.cfg.Counters.Watch(ctx, func() { _ = t.Rejoin(ctx) }, func(m Mark) { t.local.raise(m.Slot, m.Gen) })
		pause(ctx, retryInterval)
	}
	<-done
}

// resend repeats purges that the store refused or never answered while the
// Switch was Up; after an outage Rejoin does it.
func (t *Tags) resend(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
		for ctx.Err() == nil && !t.unsent.empty() && t.cfg.Switch.Up() {
			if t.Rejoin(ctx) != nil {
				pause(ctx, retryInterval)
			}
		}
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
