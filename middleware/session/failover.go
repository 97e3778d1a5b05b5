package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
)

const (
	// maxPending bounds the records, and the revocations, that wait for the
	// remote store. A record beyond it is kept locally alone; beyond it in
	// revocations all are brought.
	maxPending = 1 << 14
	// revocationBatch and recordBatch are how many go at a time.
	revocationBatch, recordBatch = 512, 64
)

// Failover is a Store that uses a remote one while Switch lets it, and a local
// replica always: what is written remotely is written here too, so that an
// outage changes nothing for the sessions that this gateway knows. Revocations
// stand locally until the session could no longer live, whatever the remote
// store says, and are replayed whenever it comes back, since it may have come
// back empty or old. Contexts must carry an Exchange, which is told what was
// decided locally.
type Failover struct {
	cfg FailoverConfig

	mu          sync.Mutex
	records     map[string]Ref // written locally and not confirmed remotely; guarded by mu
	revocations []Revocation   // likewise; guarded by mu
	replay      bool           // all revocations that stand are to be brought; guarded by mu
	standing    []Revocation   // those of them that still are; guarded by mu
}

var (
	_ Store            = (*Failover)(nil)
	_ failover.Backlog = (*Failover)(nil)
)

// FailoverConfig configures a Failover.
type FailoverConfig struct {
	Switch *failover.Switch // nil: the replica is all there is
	Remote Store            // nil with a nil Switch
	Local  Replica
	// Journal makes revocations outlive the process; nil: they do not. What it
	// holds has to be in Local before the first request.
	Journal Journal
}

// NewFailover returns a Failover, which is a backlog of its Switch.
func NewFailover(cfg FailoverConfig) *Failover {
	f := &Failover{cfg: cfg, records: map[string]Ref{}}
	if cfg.Switch != nil {
		cfg.Switch.Brings("sessions", f)
	}
	return f
}

// answer is a store's word, passed through failover.Ask without an error: none
// of ErrUnknown, ErrRevoked, ErrStale and ErrTooLarge is a fault of the store.
type answer struct {
	record Record
	err    error
	remote bool
}

// do asks remote while the Switch lets it. An answer that is not remote's is
// remote == false and nothing else.
func (f *Failover) do(ctx context.Context, remote func(context.Context) (Record, error)) (answer, error) {
	a, answered, err := failover.Ask(ctx, f.cfg.Switch, func(ctx context.Context) (answer, error) {
		record, err := remote(ctx)
		if !isAnswer(err) {
			return answer{}, err
		}
		return answer{record, err, true}, nil
	})
	if !answered {
		if f.cfg.Switch != nil {
			exchange.From(ctx).Facts.Local = true
		}
		return answer{}, nil
	}
	return a, err
}

// Load returns the later of the remote and the local record, by compareForks where
// they have one generation. A revocation known on either side ends the session on
// both. Where the remote store is away and nothing is known locally it is
// ErrUnreachable.
func (f *Failover) Load(ctx context.Context, ref Ref) (Record, error) {
	local, localErr := f.cfg.Local.Load(ctx, ref)
	if errors.Is(localErr, ErrRevoked) {
		return Record{}, localErr // one trip less, and true even of a store that forgot
	}
	a, err := f.do(ctx, func(ctx context.Context) (Record, error) { return f.cfg.Remote.Load(ctx, ref) })
	switch {
	case err != nil || !a.remote:
		if localErr != nil && f.cfg.Switch != nil {
			return Record{}, errors.Join(ErrUnreachable, err)
		}
		return local, localErr
	case errors.Is(a.err, ErrRevoked):
		return Record{}, errors.Join(a.err, f.learn(ctx, ref))
	case a.err == nil && (localErr != nil || a.record.Generation > local.Generation):
		if err := f.cfg.Local.Save(ctx, ref.Key, a.record); errors.Is(err, ErrRevoked) {
			return Record{}, err
		}
		return a.record, nil
	case a.err == nil && a.record.Generation == local.Generation:
		fork := compareForks(local, a.record)
		if fork != 0 {
			f.keepRecord(ref) // to be settled
		}
		if fork > 0 {
			return local, nil
		}
		return a.record, nil
	case localErr == nil: // the remote store lost it, or came back old
		f.keepRecord(ref)
		return local, nil
	}
	return Record{}, a.err
}

// Save writes remotely, then locally; where the remote store is away, locally,
// to be brought there later. A record that loses remotely is not kept locally.
func (f *Failover) Save(ctx context.Context, key string, rec Record) error {
	ref := refTo(key, rec.Claims)
	if _, err := f.cfg.Local.Load(ctx, ref); errors.Is(err, ErrRevoked) {
		return err
	}
	a, err := f.do(ctx, func(ctx context.Context) (Record, error) {
		return Record{}, f.cfg.Remote.Save(ctx, key, rec)
	})
	if errors.Is(a.err, ErrRevoked) {
		return errors.Join(a.err, f.learn(ctx, ref))
	}
	if err != nil || a.err != nil {
		return errors.Join(err, a.err)
	}
	if err := f.cfg.Local.Save(ctx, key, rec); err != nil && !(a.remote && errors.Is(err, ErrStale)) {
		return err
	}
	if !a.remote {
		f.keepRecord(ref)
	}
	return nil
}

// Revoke stands locally at once, and remotely now or as soon as it can. It is
// journaled before the remote store is asked, whatever becomes of that: a store
// may come back old. Meanwhile the other gateways are told. A journal that fails is
// noted and no error, since the revocation stands for as long as the process does.
func (f *Failover) Revoke(ctx context.Context, revocations []Revocation) error {
	if err := f.cfg.Local.Revoke(ctx, revocations); err != nil {
		return err
	}
	var told sync.WaitGroup
	if f.cfg.Journal != nil {
		if err := f.cfg.Journal.Keep(ctx, revocations, false); err != nil {
			exchange.From(ctx).Facts.Note("revocation not durable: " + err.Error())
		}
		told.Go(func() { f.cfg.Journal.Tell(ctx, revocations) })
	}
	defer told.Wait()
	a, err := f.do(ctx, func(ctx context.Context) (Record, error) {
		return Record{}, f.cfg.Remote.Revoke(ctx, revocations)
	})
	if !a.remote {
		f.keepRevocations(revocations)
	}
	return err
}

// Restore takes in revocations of which another gateway tells, or a journal that
// already holds them. They are brought to the remote store too, by the calls that
// follow: the gateway that made them may be cut off from it.
func (f *Failover) Restore(ctx context.Context, revocations []Revocation) error {
	if err := f.cfg.Local.Revoke(ctx, revocations); err != nil {
		return err
	}
	f.keepRevocations(revocations)
	return nil
}

// learn keeps here that a session was found revoked in the remote store, which
// may be the only one to know by now. That it is journaled too is one more chance:
// the gateway that made the revocation has it in its own journal.
func (f *Failover) learn(ctx context.Context, ref Ref) error {
	found := []Revocation{ref.Revocation()}
	if err := f.cfg.Local.Revoke(ctx, found); err != nil {
		return err
	}
	if f.cfg.Journal != nil {
		_ = f.cfg.Journal.Keep(ctx, found, true)
	}
	return nil
}

func (f *Failover) keepRecord(ref Ref) {
	if f.cfg.Switch == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.records) < maxPending {
		f.records[ref.Key] = ref
	}
	f.cfg.Switch.Wake()
}

// keepRevocations keeps what the remote store does not know.
func (f *Failover) keepRevocations(revocations []Revocation) {
	if f.cfg.Switch == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.revocations)+len(revocations) > maxPending {
		f.replay = true
	} else {
		f.revocations = append(f.revocations, revocations...)
	}
	f.cfg.Switch.Wake()
}

// takeRevocations takes up to n revocations that are not confirmed.
func (f *Failover) takeRevocations(n int) (taken []Revocation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.replay {
		f.revocations, f.standing, f.replay = nil, f.cfg.Local.Revocations(), false
	}
	from := &f.standing
	if len(f.standing) == 0 {
		from = &f.revocations
	}
	n = min(n, len(*from))
	taken, *from = (*from)[:n:n], (*from)[n:]
	return taken
}

// takeRecord takes one record that is not confirmed.
func (f *Failover) takeRecord() (ref Ref, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, ref := range f.records {
		delete(f.records, key)
		return ref, true
	}
	return Ref{}, false
}

func (f *Failover) bringRecord(ctx context.Context, ref Ref) error {
	rec, err := f.cfg.Local.Load(ctx, ref)
	if err != nil {
		return nil // gone, or revoked meanwhile: nothing to bring
	}
	err = f.cfg.Remote.Save(ctx, ref.Key, rec)
	if errors.Is(err, ErrStale) {
		err = f.settle(ctx, ref, rec)
	}
	switch {
	case errors.Is(err, ErrRevoked):
		return f.learn(ctx, ref)
	case !isAnswer(err):
		f.keepRecord(ref)
		return err
	}
	return nil
}

// settle ends the dispute of two records of one generation: the one that stays
// becomes the next generation, which every gateway takes from the remote store. If
// somebody was faster, theirs is the next one.
func (f *Failover) settle(ctx context.Context, ref Ref, local Record) error {
	next, err := f.cfg.Remote.Load(ctx, ref)
	if err != nil {
		return err
	}
	fork := compareForks(local, next)
	if next.Generation != local.Generation || fork == 0 {
		return nil
	}
	if fork > 0 {
		next = local
	}
	next.Generation++
	if err := f.cfg.Remote.Save(ctx, ref.Key, next); err != nil {
		return err
	}
	return f.cfg.Local.Save(ctx, ref.Key, next)
}

// Replay implements failover.Backlog: all revocations that stand are pending again.
func (f *Failover) Replay() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replay = true
}

// Forgotten is the Replica's.
func (f *Failover) Forgotten() time.Time { return f.cfg.Local.Forgotten() }

// Pending implements failover.Backlog.
func (f *Failover) Pending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replay || len(f.standing)+len(f.revocations)+len(f.records) > 0
}

// Drain implements failover.Backlog: revocations first, then records.
func (f *Failover) Drain(ctx context.Context) error {
	if revocations := f.takeRevocations(revocationBatch); len(revocations) > 0 {
		err := f.cfg.Remote.Revoke(ctx, revocations)
		if err != nil {
			f.keepRevocations(revocations)
		}
		return err
	}
	for range recordBatch {
		if ref, ok := f.takeRecord(); !ok {
			return nil
		} else if err := f.bringRecord(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}
