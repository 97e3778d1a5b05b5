package cache

import (
	"context"
	"crypto/rand"
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
//
// A purge that several gateways may bring has an ID: brought again it counts as a Floor
// of Above plus Add, and so for nothing where the generation is above that already.
//
// A Floor below the table's Base, with nothing to add, is what was known of a table
// that is lost. It stands beside the slot's generation, for those who were not told of
// it then.
type Change struct {
	Slot  uint16
	Floor uint64
	Add   uint64
	Above uint64 // with an ID: the highest that was given here, and not by the store
	ID    string // at most 128 bytes; "": none
}

// Table is what is read of the shared generations. A table that replaces one that was
// lost begins from a Base above all that was ever given: slots that it does not
// name stand there. Marks below it are of the tables before.
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
	// Journal keeps purges over a restart; nil: they are lost. What it holds is
	// given back by Restore.
	Journal Journal
}

// Purge is one purge of a slot. The generation is the one that the slot got where it
// was made: by Origin, which gives each once, or by the shared store.
type Purge struct {
	Mark
	Origin string // "": the shared store
	Known  bool   // by the shared store
}

// id is "" for a purge of nobody in particular, which counts each time that it is brought.
func (p Purge) id() string {
	if p.Origin == "" {
		return ""
	}
	return fmt.Sprintf("%d:%s:%d", p.Slot, p.Origin, p.Gen)
}

// Journal keeps purges over a restart. It bounds the time itself.
type Journal interface {
	// Keep returns when the purges are durable, or may become so later where it
	// fails. Nobody waits for those that are Known to be durable; a purge that
	// was kept before as unknown is done with then.
	Keep(ctx context.Context, purges []Purge) error
}

// Tags decides what a purge has made invalid. Every entry carries the
// generations that its tags had when its fill began; a purge lifts a tag's
// generation, and what carries a lower one is invalid. So a purge is O(1), and a
// fill that began before it cannot undo it.
//
// While the shared store is away purges work here, are remembered, and are
// repeated there before the store is used again. A store that comes
// back empty or old lowers nothing. What was purged elsewhere without the shared store
// cannot be ordered among the generations here: it purges what is held here anew.
type Tags struct {
	local  generations
	base   atomic.Uint64 // of the shared table, as far as it is known
	unread atomic.Bool   // the shared table may hold purges that are not known here
	watch  atomic.Pointer[context.CancelFunc]
	unsent unsent
	made   made
	origin string // of this run, among those of all gateways
	cfg    TagsConfig
}

var _ failover.Backlog = (*Tags)(nil)

// NewTags returns tags of which none was ever purged. It is a backlog of the Switch;
// Run must be running for purges of others to arrive.
func NewTags(cfg TagsConfig) *Tags {
	t := &Tags{origin: rand.Text(), cfg: cfg}
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
// since. What this gateway holds itself stays, as those who live tell what was.
func (t *Tags) trusts(marks []Mark) bool {
	base := t.base.Load()
	return t.Valid(marks) && !slices.ContainsFunc(marks, func(m Mark) bool { return m.Gen < base })
}

// changes counts purges, and tables. Marks that are taken later, but before it has changed,
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
	for known := t.base.Load(); known < table.Base; known = t.base.Load() {
		t.local.changes.Add(1) // marks of both tables say nothing of each other
		if t.base.CompareAndSwap(known, table.Base) {
			t.repeat(table.Base)
			break
		}
	}
	t.learn(table.Marks)
}

// Restore takes over purges of which a journal or another gateway tells, once or
// often. Those that the shared store does not know of are brought there from here too:
// their gateway may be gone, or cut off from it.
func (t *Tags) Restore(purges []Purge) {
	for _, p := range purges {
		switch {
		case p.Origin == "":
			t.local.raise(p.Slot, p.Gen)
		case !t.unsent.heard(p):
		case !p.Known:
			t.unsent.begin([]Purge{p})
			t.again(p)
			t.unsent.add(p)
			t.unsent.end([]Purge{p})
		case t.unsent.has(p.Slot): // else generations here are those of the shared store
			t.again(p)
		default:
			t.local.raise(p.Slot, p.Gen)
		}
	}
	t.cfg.Switch.Wake()
}

// again purges what is held here by a purge that was made elsewhere.
func (t *Tags) again(p Purge) {
	t.unsent.gave(p.Slot, t.local.bump(p.Slot, max(p.Gen-1, t.base.Load())))
}

// Purge makes everything invalid that carries one of the tags: here at once, on
// the other gateways when they hear of it. While the shared store is away that
// is later, and no error. An error says that the store is there and refused, and
// the purge will be repeated there, or that it did not get into the journal; the
// purge holds here.
func (t *Tags) Purge(ctx context.Context, tags ...string) error {
	purges, changes := make([]Purge, len(tags)), make([]Change, len(tags))
	for i, tag := range tags {
		purges[i] = Purge{Mark: Mark{Slot: slotOf(tag)}, Origin: t.origin}
	}
	t.unsent.begin(purges)
	defer t.unsent.end(purges)
	for i := range purges {
		slot := purges[i].Slot
		gen := t.local.bump(slot, t.base.Load())
		purges[i].Gen = gen
		t.unsent.gave(slot, gen)
		// The fills of other gateways that began before this moment carry the
		// old generation at most, or one that the store adds one to.
		changes[i] = Change{Slot: slot, Floor: gen - 1, Add: 1}
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
		t.remember(purges)
		if kept := t.keep(ctx, purges); kept != nil {
			return errors.Join(err, fmt.Errorf("a restart may forget the purge: %w", kept))
		}
		return err
	}
	t.read(table)
	t.made.note(purges, time.Now())
	_ = t.keep(ctx, known(table.Marks)) // else a restart, and a store that has lost it, would forget it
	return nil
}

// known are the purges that the shared store gave these generations.
func known(marks []Mark) []Purge {
	purges := make([]Purge, len(marks))
	for i, m := range marks {
		purges[i] = Purge{Mark: m, Known: true}
	}
	return purges
}

func (t *Tags) keep(ctx context.Context, purges []Purge) error {
	if t.cfg.Journal == nil || len(purges) == 0 {
		return nil
	}
	return t.cfg.Journal.Keep(ctx, purges)
}

// shareable reports whether the shared store may hold something with these marks: none
// of them is of a purge that it does not know of. It may give that generation to another
// purge, which gateways that learned it from here would take for heard.
func (t *Tags) shareable(marks []Mark) bool {
	return !slices.ContainsFunc(marks, func(m Mark) bool { return t.unsent.has(m.Slot) })
}

// repeat brings purges again that this gateway made since a new table began: the store
// that took them was not the one that is used now, and what the others have filled
// meanwhile stands above them.
func (t *Tags) repeat(base uint64) {
	if again := t.made.since(time.UnixMicro(int64(base)).Add(-clockSkew)); len(again) > 0 {
		for i := range again {
			again[i].Origin = t.origin
		}
		t.remember(again)
	}
}

// remember keeps purges that the shared store does not know of.
func (t *Tags) remember(purges []Purge) {
	for _, p := range purges {
		t.unsent.heard(p) // so that it is none when it comes back from others
		t.unsent.add(p)
	}
	t.cfg.Switch.Wake()
}
