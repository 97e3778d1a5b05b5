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

// CountersTTL is how long shared generations are kept after their last change: longer than any
// entry lives, so that no entry outlives its purge.
const CountersTTL = 2*MaxKeep + 2*24*time.Hour

// Change raises a slot's shared generation to at least Floor, then adds Add.
//
// A purge that several gateways may send has an ID. When repeated it counts as a Floor of Above
// plus Add, and so changes nothing if the generation is above that already.
//
// A Floor below the table's Base, without Add, comes from a table that was lost. It is kept beside
// the slot's generation, for gateways that missed it then.
type Change struct {
	Slot  uint16
	Floor uint64
	Add   uint64
	Above uint64 // with an ID: the highest generation that this gateway, not the store, gave
	ID    string // at most 128 bytes; "": none
}

// Table is the content of the shared generations, or what a change made of it. A table that
// replaces a lost one starts from a Base above all generations ever given; slots that it does not
// list stand there. Marks below Base are from earlier tables.
type Table struct {
	Position
	Marks []Mark
}

// Position is how much of the shared table is known: of the table that started from Base the first
// Seq changes.
type Position struct {
	Base uint64 `json:"base"`
	Seq  uint64 `json:"seq"`
}

// Counters are the generations that all gateways share. The caller bounds the time through ctx.
type Counters interface {
	// Change makes the changes in a table that starts from base or above, notifies all watchers,
	// and returns the new generations in the order of the changes.
	Change(ctx context.Context, base uint64, changes []Change) (Table, error)
	// Load returns all generations above the table's Base.
	Load(ctx context.Context) (Table, error)
	// Watch calls connected each time it starts listening, and changed for each change after that,
	// in order, until ctx is done or the connection is lost.
	Watch(ctx context.Context, connected func(), changed func(Table)) error
}

// TagsConfig configures Tags. The zero value is for a single gateway.
type TagsConfig struct {
	Counters Counters         // nil: no shared store
	Switch   *failover.Switch // of the store behind Counters; required with them
	// Journal keeps purges across restarts; nil: they are lost. Its content is passed to Restore.
	Journal Journal
}

// Purge is one purge of a slot, with the generation that the slot got where the purge was made:
// from Origin, which gives each generation once, or from the shared store.
type Purge struct {
	Mark
	Origin string // "": the shared store
	Known  bool   // to the shared store
}

// id is "" for a purge without an origin, which counts each time it is sent.
func (p Purge) id() string {
	if p.Origin == "" {
		return ""
	}
	return fmt.Sprintf("%d:%s:%d", p.Slot, p.Origin, p.Gen)
}

// Journal keeps purges across restarts. It bounds the time itself.
type Journal interface {
	// Keep returns when the purges are durable; on failure they may still become so later. It does
	// not wait for those that are Known; these replace earlier records of the same purges as
	// unknown.
	Keep(ctx context.Context, purges []Purge) error
}

// Tags decides which entries are invalid. Every entry carries the generations that its tags had
// when its fill began. A purge raises a tag's generation, and entries with a lower one are invalid.
// So a purge is O(1), and a fill that began before it cannot undo it.
//
// While the shared store is unavailable, purges take effect here, and are repeated there before the
// store is used again. A store that comes back empty or old lowers no generation. A purge that was
// made elsewhere without the shared store cannot be ordered among the generations here, so it
// purges this gateway's entries anew.
type Tags struct {
	local  generations
	base   atomic.Uint64 // of the shared table, as last seen
	known  known
	unread atomic.Bool // the shared table may have purges unknown here
	repair atomic.Bool // the table is being read, and may lack purges known here; see settled
	watch  atomic.Pointer[context.CancelFunc]
	unsent unsent
	made   made
	origin string // identifies this run among all gateways
	cfg    TagsConfig
}

var _ failover.Backlog = (*Tags)(nil)

// NewTags returns Tags without any purge, and registers it as a backlog of the Switch. Purges of
// other gateways arrive only while Run is running.
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

// softMarks returns the present generations of the softTags of tags.
func (t *Tags) softMarks(tags []string) []Mark {
	soft := make([]string, len(tags))
	for i, tag := range tags {
		soft[i] = softTag(tag)
	}
	return t.Marks(soft)
}

// trusts reports whether an entry of the shared store is valid. One that was filled before the
// shared table was lost is not, since purges after its fill may be lost too. This gateway's own
// entries stay, since the living gateways report their purges.
func (t *Tags) trusts(marks []Mark) bool {
	base := t.base.Load()
	return t.Valid(marks) && !slices.ContainsFunc(marks, func(m Mark) bool { return m.Gen < base })
}

// PurgesOfAll returns a number that grows with each purge of everything, wherever it was made.
func (t *Tags) PurgesOfAll() uint64 { return t.Marks([]string{tagAll})[0].Gen }

// changes counts purges, and new tables. Marks taken later are still those of the moment when it
// was read, provided that it has not changed.
func (t *Tags) changes() uint64 { return t.local.changes.Load() }

// Valid reports whether nothing with these marks was purged since.
func (t *Tags) Valid(marks []Mark) bool {
	return !slices.ContainsFunc(marks, func(m Mark) bool { return m.Gen < t.local.get(m.Slot) })
}

// learn takes over generations known elsewhere. A generation equal to the table's base is not a
// purge.
func (t *Tags) learn(marks []Mark) {
	base := t.base.Load()
	for _, m := range marks {
		if m.Gen != base {
			t.local.raise(m.Slot, m.Gen)
		}
	}
}

// read takes over the content of the shared table, or a change.
func (t *Tags) read(table Table) {
	for known := t.base.Load(); known < table.Base; known = t.base.Load() {
		t.local.changes.Add(1) // marks of different tables cannot be compared
		if t.base.CompareAndSwap(known, table.Base) {
			t.repeat(table.Base)
			break
		}
	}
	t.learn(table.Marks)
	t.known.exists(table.Position)
}

// Restore takes over purges from a journal or another gateway, any number of times. Purges unknown
// to the shared store are sent there from here too, since their gateway may be gone, or cut off
// from it.
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
		case t.unsent.has(p.Slot): // otherwise the generations here are the shared store's
			t.again(p)
		default:
			t.local.raise(p.Slot, p.Gen)
		}
	}
	t.cfg.Switch.Wake()
}

// again purges this gateway's entries for a purge that was made elsewhere.
func (t *Tags) again(p Purge) {
	t.unsent.gave(p.Slot, t.local.bump(p.Slot, max(p.Gen-1, t.base.Load())))
}

// Purge invalidates everything that carries one of the tags: here at once, on other gateways when
// they hear of it. While the shared store is unavailable that is later, without an error. An error
// means that the store refused the purge, which will be repeated there, or that the journal could
// not keep it. The purge is in force here in any case.
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
		// Fills of other gateways that began before now carry at most the old generation, or the
		// one that the store increments.
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
	_ = t.keep(ctx, knownPurges(table.Marks)) // for the case of a restart with a store that has lost it
	return nil
}

// knownPurges are the purges for generations that the shared store gave.
func knownPurges(marks []Mark) []Purge {
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

// shareable reports whether the shared store may hold an entry with these marks: the store knows
// all their purges. Otherwise it may give a mark's generation to another purge, which gateways that
// learned the generation from the entry would ignore.
func (t *Tags) shareable(marks []Mark) bool {
	return !slices.ContainsFunc(marks, func(m Mark) bool { return t.unsent.has(m.Slot) })
}

// repeat sends again the purges that this gateway made since a new table began. The store that took
// them is not the one used now, and other gateways' later fills have marks above them.
func (t *Tags) repeat(base uint64) {
	if again := t.made.since(time.UnixMicro(int64(base)).Add(-clockSkew)); len(again) > 0 {
		for i := range again {
			again[i].Origin = t.origin
		}
		t.remember(again)
	}
}

// remember keeps purges that the shared store does not know.
func (t *Tags) remember(purges []Purge) {
	for _, p := range purges {
		t.unsent.heard(p) // so that it is ignored when others send it back
		t.unsent.add(p)
	}
	t.cfg.Switch.Wake()
}
