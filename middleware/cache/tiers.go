package cache

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// The names of the tiers in Cache-Status.
const (
	tierLocal  = "l1"
	tierShared = "l2"
)

// maxShared bounds what is put into the shared store, in bytes. On an ordinary network a larger
// body takes longer than a request may wait for the store, and several at once would look like a
// store that hangs.
const maxShared = 1 << 20

// Tiers is a Store of two tiers: memory and, while its Switch allows, the store that all gateways
// share. It returns no purged entries. A failure of the shared store is a miss, never an error; a
// failed write only pauses writes.
type Tiers struct {
	Local  LocalStore       // nil: no memory, the shared store alone
	Shared Store            // nil: memory alone
	Search Finder           // of Shared, for the operator
	Switch *failover.Switch // of Shared
	Tags   *Tags
	Now    func() time.Time
	// Room reports whether the shared store has room for so many more bytes, and reserves them;
	// nil: always.
	Room func(bytes int) bool

	dry    *Dry // keeps nothing; nil: it does
	writes writes
	puts   atomic.Uint64 // into memory
	parts  atomic.Bool   // memory may contain parts
}

var _ Store = (*Tiers)(nil)

// LocalStore is a store in memory, which counts entries by their Weight.
type LocalStore interface {
	Store // Put keeps the Uses of the entry that it replaces
	Finder
	// Bytes is the memory taken.
	Bytes() int64
	// Variants returns the entries of a key, newest first, and does not count as a use.
	Variants(key string) []*Entry
	// Reweigh weighs the entries of a key again, since one has grown.
	Reweigh(key string)
}

// Get looks in memory and, unless it finds a fresh entry there, in the shared store, where another
// gateway may have put a newer one. It keeps what it finds there in memory.
func (t *Tiers) Get(ctx context.Context, key string, fields rfc9111.Fields) (Found, error) {
	local := t.inMemory(ctx, key, fields)
	if t.Shared == nil || local.Entry != nil && local.Entry.remaining(t.Now()) > 0 {
		return local, nil
	}
	shared, answered, err := failover.Ask(ctx, t.Switch, func(ctx context.Context) (Found, error) { return t.Shared.Get(ctx, key, fields) })
	if !answered {
		local.Local = t.Switch != nil
		return local, nil
	}
	local.Others = local.Others || shared.Others
	e := shared.Entry
	if err != nil || e == nil || !t.Tags.trusts(e.Marks) || local.Entry != nil && !e.Received.After(local.Entry.Received) {
		return local, nil
	}
	if t.dry == nil {
		t.Tags.learn(e.Marks) // the gateway that filled it may know of more purges
		t.Tags.learn(e.Soft)
		t.remember(ctx, key, e)
	} else {
		t.dry.finds(key, e)
	}
	shared.Tier, shared.Entry = tierShared, t.softened(e)
	return shared, nil
}

func (t *Tiers) inMemory(ctx context.Context, key string, fields rfc9111.Fields) Found {
	if t.Local == nil {
		return Found{}
	}
	found, err := t.Local.Get(ctx, key, fields)
	if err != nil || found.Entry != nil && !t.Tags.Valid(found.Entry.Marks) {
		found.Entry = nil
	}
	found.Tier, found.Entry = tierLocal, t.softened(found.Entry)
	return found
}

// softened returns an entry, or a stale copy of one that was purged softly; e may be nil.
func (t *Tiers) softened(e *Entry) *Entry {
	if e == nil || t.Tags.Valid(e.Soft) {
		return e
	}
	return e.stale(t.Now())
}

func (t *Tiers) remember(ctx context.Context, key string, e *Entry) {
	if t.Local != nil {
		e.Header = compact(e.Header)
		e.Codings, e.Uses = newCodings(e, e.Codings), &Uses{}
		if e.partial() {
			t.parts.Store(true)
		}
		_ = t.Local.Put(ctx, key, e) // memory never refuses
		t.puts.Add(1)
	}
}

// Put stores in both tiers.
func (t *Tiers) Put(ctx context.Context, key string, e *Entry) error {
	if t.dry != nil {
		t.dry.puts(key, e)
		return nil
	}
	t.remember(ctx, key, e)
	if t.Shared == nil || !t.Tags.shareable(e.Marks) || !t.Tags.shareable(e.Soft) || e.Size() > maxShared || !t.writes.may(t.Now()) || !t.room(e.Size()) {
		return nil // a later request fills it again
	}
	_, answered, err := failover.Offer(ctx, t.Switch, func(ctx context.Context) (struct{}, error) { return struct{}{}, t.Shared.Put(ctx, key, e) })
	t.writes.outcome(answered, err, t.Now())
	return nil
}

// room reserves bytes of the shared store, if it has them.
func (t *Tiers) room(bytes int) bool { return t.Room == nil || t.Room(bytes) }

// Writes returns the status of writes into the shared store.
func (t *Tiers) Writes() WritesStatus { return t.writes.status() }
