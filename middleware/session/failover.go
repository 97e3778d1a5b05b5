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
	// maxPending bounds the records, and the revocations, that wait for the remote store. Further
	// records stay local only; after further revocations, all that still stand are sent again.
	maxPending = 1 << 14
	// revocationBatch and recordBatch are how many one Drain sends.
	revocationBatch, recordBatch = 512, 64
)

// Failover is a Store over a remote store, used while Switch allows it, and a local replica, which
// is always used. Remote writes are also made locally, so that sessions known to this gateway
// survive an outage. Revocations stay local until the session would have ended by itself, whatever
// the remote store says. They are replayed when it comes back, since it may be empty or old by then.
// Contexts must carry an Exchange; its Facts.Local records local decisions.
type Failover struct {
	cfg FailoverConfig

	mu          sync.Mutex
	records     map[string]Ref // written locally and not confirmed remotely; guarded by mu
	revocations []Revocation   // likewise; guarded by mu
	replay      bool           // all standing revocations must be sent; guarded by mu
	standing    []Revocation   // those of a replay not sent yet; guarded by mu
}

var (
	_ Store            = (*Failover)(nil)
	_ failover.Backlog = (*Failover)(nil)
)

// FailoverConfig configures a Failover.
type FailoverConfig struct {
	Switch *failover.Switch // nil: there is only the replica
	Remote Store            // nil with a nil Switch
	Search Lister           // of Remote; nil with a nil Switch
	Local  Replica
	// Journal makes revocations outlive the process; nil: they do not. Its content must be in Local
	// before the first request.
	Journal Journal
}

// NewFailover returns a Failover and registers it as a backlog of its Switch.
func NewFailover(cfg FailoverConfig) *Failover {
	f := &Failover{cfg: cfg, records: map[string]Ref{}}
	if cfg.Switch != nil {
		cfg.Switch.Brings("sessions", f)
	}
	return f
}

// answer is a store's answer, passed through failover.Ask without an error: ErrUnknown, ErrRevoked,
// ErrStale and ErrTooLarge are not failures of the store.
type answer struct {
	record Record
	err    error
	remote bool
}

// do asks the remote store while the Switch allows it. Otherwise it returns the zero answer, with
// remote false.
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

// Load returns the later of the remote and the local record; compareForks decides between records
// of one generation. A revocation known on either side ends the session on both. If the remote
// store is unavailable and the session unknown locally, the error is ErrUnreachable.
func (f *Failover) Load(ctx context.Context, ref Ref) (Record, error) {
	local, localErr := f.cfg.Local.Load(ctx, ref)
	if errors.Is(localErr, ErrRevoked) {
		return Record{}, localErr // saves a round trip, and holds even if the remote store lost it
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
			f.keepRecord(ref) // settle decides
		}
		if fork > 0 {
			return local, nil
		}
		return a.record, nil
	case localErr == nil: // the remote store lost it, or was restored from an old copy
		f.keepRecord(ref)
		return local, nil
	}
	return Record{}, a.err
}

// Save writes remotely, then locally. While the remote store is unavailable it writes locally and
// sends the record later. A record that the remote store refuses is not kept locally.
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

// Revoke takes effect locally at once, and remotely now or as soon as possible. It is journaled
// before the remote store is asked, since that may be restored from an old copy later. Meanwhile
// the other gateways are told. A journal failure is noted but is no error: the revocation holds as
// long as the process lives.
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

// Restore takes in revocations from another gateway, or from a journal. Later calls send them to
// the remote store too, since the gateway that made them may be cut off from it.
func (f *Failover) Restore(ctx context.Context, revocations []Revocation) error {
	if err := f.cfg.Local.Revoke(ctx, revocations); err != nil {
		return err
	}
	f.keepRevocations(revocations)
	return nil
}

// learn keeps a revocation that was found in the remote store, which may be the only one that has
// it by now. Journaling it is best effort: the gateway that made it has it in its own journal.
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

// keepRevocations queues revocations for the remote store.
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

// takeRevocations removes up to n unconfirmed revocations from the queues and returns them.
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

// takeRecord removes one unconfirmed record from the queue and returns it.
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
		return nil // gone, or revoked meanwhile: nothing to send
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

// settle decides between two records of one generation: the winner becomes the next generation,
// which every gateway takes from the remote store. If another gateway was faster, its record stays.
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

// Replay implements failover.Backlog: all standing revocations are pending again.
func (f *Failover) Replay() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replay = true
}

// Forgotten returns Replica.Forgotten of the local replica.
func (f *Failover) Forgotten() time.Time { return f.cfg.Local.Forgotten() }

// Pending implements failover.Backlog.
func (f *Failover) Pending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replay || f.waitingLocked() > 0
}

// Waiting implements failover.Backlog: it counts revocations and records.
func (f *Failover) Waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waitingLocked()
}

func (f *Failover) waitingLocked() int { return len(f.standing) + len(f.revocations) + len(f.records) }

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
