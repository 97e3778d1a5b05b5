package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/failover"
)

// CountersTTL is for how long shared generations are kept after their last
// change: longer than any entry lives, so that no entry outlives the purge of
// it.
const CountersTTL = 2*MaxKeep + 2*24*time.Hour

// Change asks for a slot's shared generation to become the larger of what it is
// and Floor, plus Add.
type Change struct {
	Slot  uint16
	Floor uint64
	Add   uint64
}

// Table is what is read of the shared generations. A table that replaces one that was
// lost begins from a Base above all that was ever given: slots that it does not
// name stand there.
type Table struct {
	Base  uint64
	Marks []Mark
}

// Counters are the generations that all gateways share. The caller bounds the
// time through ctx.
type Counters interface {
	// Change makes the changes in a table that begins from base or above, tells all
	// who watch, and returns the new generations in the order of the changes.
	Change(ctx context.Context, base uint64, changes []Change) (Table, error)
	// Load returns all generations above the table's Base.
	Load(ctx context.Context) (Table, error)
	// Watch calls connected each time it has begun to listen, and changed for
	// each change after that, until ctx is done or the connection is lost.
	Watch(ctx context.Context, connected func(), changed func(Mark)) error
}

// TagsConfig configures Tags. The zero value is for one gateway on its own.
type TagsConfig struct {
	Counters Counters         // nil: no shared store
	Switch   *failover.Switch // of the store behind Counters; required with them
	// Journal keeps, over a restart, the purges that Counters do not know of;
	// nil: they are lost. What it holds is given back by Restore.
	Journal Journal
}

// Journal keeps purges over a restart. It bounds the time itself.
type Journal interface {
	// Keep returns when the marks are durable, or may become so later where it
	// fails. known says that the shared store has them; marks kept before as
	// not known are done with then, and nobody waits for that to be durable.
	Keep(ctx context.Context, marks []Mark, known bool) error
}

// Tags decides what a purge has made invalid. Every entry carries the
// generations that its tags had when its fill began; a purge lifts a tag's
// generation, and what carries a lower one is invalid. So a purge is O(1), and a
// fill that began before it cannot undo it.
//
// While the shared store is away purges work here, are remembered, and are
// repeated there before the store is used again. A store that comes
// back empty or old lowers nothing.
type Tags struct {
	local  generations
	unsent slotSet       // purged here, and the shared store does not know
	base   atomic.Uint64 // of the shared table, as far as it is known
	unread atomic.Bool   // the shared table may hold purges that are not known here
	cfg    TagsConfig
}

var _ failover.Backlog = (*Tags)(nil)

// NewTags returns tags of which none was ever purged. It is a backlog of the Switch;
// Run must be running for purges of others to arrive.
func NewTags(cfg TagsConfig) *Tags {
	t := &Tags{cfg: cfg}
	if cfg.Counters != nil {
		cfg.Switch.Brings("cache tags", t)
	}
	return t
}

// Marks returns the present generations of tags.
func (t *Tags) Marks(tags []string) []Mark {
	marks, base := make([]Mark, len(tags)), t.base.Load()
	for i, tag := range tags {
		slot := slotOf(tag)
		marks[i] = Mark{slot, max(t.local.get(slot), base)}
	}
	return marks
}

// trusts reports whether something of the shared store is valid. What was filled
// before the shared table was lost is not: nobody may know any more what was purged
// since. What this gateway holds itself stays, as it heard of all that was.
func (t *Tags) trusts(marks []Mark) bool {
	base := t.base.Load()
	return t.Valid(marks) && !slices.ContainsFunc(marks, func(m Mark) bool { return m.Gen < base })
}

// changes counts purges. Marks that are taken later, but before it has changed,
// are those of the moment at which it was read.
func (t *Tags) changes() uint64 { return t.local.changes.Load() }

// Valid reports whether nothing with these marks was purged since.
func (t *Tags) Valid(marks []Mark) bool {
	for _, m := range marks {
		if m.Gen < t.local.get(m.Slot) {
			return false
		}
	}
	return true
}

// learn takes over generations that someone else knows. Those that a table began from
// are no purge.
func (t *Tags) learn(marks []Mark) {
	base := t.base.Load()
	for _, m := range marks {
		if m.Gen != base {
			t.local.raise(m.Slot, m.Gen)
		}
	}
}

// read takes over what was read of the shared table.
func (t *Tags) read(table Table) {
	for known := t.base.Load(); known < table.Base && !t.base.CompareAndSwap(known, table.Base); {
		known = t.base.Load()
	}
	t.learn(table.Marks)
}

// Restore takes over purges of which a journal or another gateway tells, once or
// often. What the shared store does not know of is repeated there if it is news
// here.
func (t *Tags) Restore(marks []Mark, known bool) {
	for _, m := range marks {
		if t.local.raise(m.Slot, m.Gen) && !known {
			t.unsent.add(m.Slot)
		}
	}
	t.cfg.Switch.Wake()
}

// Purge makes everything invalid that carries one of the tags: here at once, on
// the other gateways when they hear of it. While the shared store is away that
// is later, and no error. An error says that the store is there and refused, and
// the purge will be repeated there, or that it did not get into the journal; the
// purge holds here.
func (t *Tags) Purge(ctx context.Context, tags ...string) error {
	changes := make([]Change, len(tags))
	for i, tag := range tags {
		slot := slotOf(tag)
		// The fills of other gateways that began before this moment carry the
		// old generation at most, or one that the store adds one to.
		changes[i] = Change{Slot: slot, Floor: t.local.bump(slot, t.base.Load()) - 1, Add: 1}
	}
	if t.cfg.Counters == nil {
		return nil
	}
	table, answered, err := failover.Ask(ctx, t.cfg.Switch,
		func(ctx context.Context) (Table, error) { return t.cfg.Counters.Change(ctx, t.base.Load(), changes) })
	if !answered {
		err = nil
	}
	if !answered || err != nil {
		t.remember(changes)
		return errors.Join(err, t.keep(ctx, changes))
	}
	t.read(table)
	if t.cfg.Journal != nil { // else a restart, and a store that has lost it, would forget it
		_ = t.cfg.Journal.Keep(ctx, table.Marks, true)
	}
	return nil
}

// keep puts purges that the shared store does not know of into the journal.
func (t *Tags) keep(ctx context.Context, changes []Change) error {
	if t.cfg.Journal == nil {
		return nil
	}
	marks := make([]Mark, len(changes))
	for i, c := range changes {
		marks[i] = Mark{c.Slot, c.Floor + c.Add}
	}
	if err := t.cfg.Journal.Keep(ctx, marks, false); err != nil {
		return fmt.Errorf("a restart may forget the purge: %w", err)
	}
	return nil
}

// remember keeps purges that the store does not know of.
func (t *Tags) remember(changes []Change) {
	for _, c := range changes {
		if c.Add > 0 {
			t.unsent.add(c.Slot)
		}
	}
	t.cfg.Switch.Wake()
}
