package certs

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/internal/failover"
)

// Shared is where gateways share certificates and accounts. Values are sealed. The caller bounds the time.
type Shared interface {
	// Get returns a value; nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put sets a value, for ttl; 0: without end.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	Delete(ctx context.Context, key string) error
	// Holder returns the token that holds a lock; "" if none does.
	Holder(ctx context.Context, name string) (token string, err error)
	// Hold makes token the holder for ttl, unless another one is.
	Hold(ctx context.Context, name, token string, ttl time.Duration) (held bool, err error)
	// Free ends the lock, if token holds it.
	Free(ctx context.Context, name, token string) error
}

// challengeTTL is how long the tokens of a challenge stay in Redis at most.
const challengeTTL = time.Hour

// storage is what certmagic keeps. The truth is here, on disk and in memory. Redis has a sealed copy, by
// which gateways share: of two copies that differ the later one is taken. What Redis lacks it gets back,
// and nothing waits for it.
type storage struct {
	dir     string
	shared  Shared           // nil: none
	health  *failover.Switch // of shared
	seal    sealer
	rest    time.Duration // an order's lock is taken once it was free for so long
	alone   time.Duration // without Redis for so long, this gateway orders without asking the others
	now     func() time.Time
	log     *slog.Logger
	changed func() // a certificate is new

	disk sync.Mutex // one write at a time; taken before mu

	mu     sync.Mutex
	units  map[string]bundle        // guarded by mu
	staged map[string]bundle        // guarded by mu; bundles of which a part is still to be written
	locks  map[string]chan struct{} // guarded by mu; held while it is full
	tokens map[string]*heldLock     // guarded by mu; locks that are held in Redis too
	// Units that could not be written on disk, and into Redis, and that are sealed with a strange key.
	unsaved, unshared, foreign map[string]bool // guarded by mu
}

var _ certmagic.Storage = (*storage)(nil)

func newStorage(s *storage) (*storage, error) {
	if err := atomicfile.MkdirAll(s.dir); err != nil {
		return nil, err
	}
	s.units = readBundles(s.dir, func(err error) {
		s.log.Error("a stored certificate or account cannot be used", "error", err.Error())
	})
	s.staged, s.locks, s.tokens = map[string]bundle{}, map[string]chan struct{}{}, map[string]*heldLock{}
	s.unsaved, s.unshared, s.foreign = map[string]bool{}, map[string]bool{}, map[string]bool{}
	return s, nil
}

// Store implements certmagic.Storage.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	unit, name := unitOf(key)
	s.mu.Lock()
	before, ok := s.staged[unit]
	if !ok {
		before = s.units[unit]
	}
	b := before.with(name, value)
	b.Unit, b.Modified = unit, s.now()
	if last := s.units[unit].Modified; !b.Modified.After(last) { // the clock was ahead
		b.Modified = last.Add(time.Millisecond)
	}
	if !b.whole() {
		s.staged[unit] = b
		s.mu.Unlock()
		return nil
	}
	s.useLocked(b)
	s.mu.Unlock()
	s.tell(unit)
	s.publish(ctx, b)
	s.save(unit)
	return nil
}

// useLocked puts a bundle in use, before it is on disk.
func (s *storage) useLocked(b bundle) {
	delete(s.staged, b.Unit)
	s.units[b.Unit] = b
}

// save writes a bundle on disk. A disk that fails is tried again later: what a server gave once is not ordered
// again for that. A disk that hangs holds up nobody who serves.
func (s *storage) save(unit string) {
	if !lasting(unit) {
		return
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	b := s.load(unit)
	if len(b.Files) == 0 {
		return
	}
	text, err := json.Marshal(b)
	if err == nil {
		err = atomicfile.Replace(atomicfile.OS{}, fileOf(s.dir, unit), text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.unsaved, unit)
		return
	}
	if !s.unsaved[unit] {
		s.log.Error("a certificate or account is in use, but not on disk", "error", err.Error())
	}
	s.unsaved[unit] = true
}

// saved reports whether a bundle is on disk.
func (s *storage) saved(unit string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.unsaved[unit]
}

func (s *storage) tell(unit string) {
	if strings.HasPrefix(unit, "certificates/") {
		s.changed()
	}
}

// publish gives Redis its copy. If that fails, it is done before a lock is given back, or by refreshAll.
func (s *storage) publish(ctx context.Context, b bundle) {
	if s.shared == nil {
		return
	}
	sealed, err := s.seal.seal(b)
	if err != nil {
		s.log.Error("a certificate cannot be shared", "error", err.Error())
		return
	}
	ttl := challengeTTL
	if lasting(b.Unit) {
		ttl = 0
	}
	_, answered, err := failover.Offer(ctx, s.health, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.shared.Put(ctx, b.Unit, sealed, ttl)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if answered && err == nil {
		delete(s.unshared, b.Unit)
	} else {
		s.unshared[b.Unit] = true
	}
}

// publishRest publishes what Redis did not take, and reports whether it has all now.
func (s *storage) publishRest(ctx context.Context) bool {
	s.mu.Lock()
	var rest []bundle
	for unit := range s.unshared {
		if b, ok := s.units[unit]; ok {
			rest = append(rest, b)
		} else {
			delete(s.unshared, unit)
		}
	}
	s.mu.Unlock()
	for _, b := range rest {
		s.publish(ctx, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unshared) == 0
}

// refresh makes a bundle the same here and in Redis, and returns it. Without Redis it is what is here.
func (s *storage) refresh(ctx context.Context, unit string) bundle {
	if s.shared == nil {
		return s.load(unit)
	}
	sealed, answered, err := failover.Ask(ctx, s.health, func(ctx context.Context) ([]byte, error) { return s.shared.Get(ctx, unit) })
	if !answered || err != nil {
		return s.load(unit)
	}
	theirs, newest, readable := s.seal.open(unit, sealed)
	if !lasting(unit) { // the gateway that orders ends its challenge
		if ours := s.load(unit); len(ours.Files) > 0 || !readable {
			return ours
		}
		return theirs
	}
	s.mu.Lock()
	if sealed != nil && !readable && !s.foreign[unit] {
		s.foreign[unit] = true
		s.log.Warn("a certificate or account in Redis is sealed with a key that this gateway does not have: gateways that share a Redis need the same session.keys_file", "unit", unit)
	}
	ours, ok := s.units[unit]
	same := readable && theirs.equal(ours)
	adopt := readable && !same && (!ok || theirs.later(ours))
	if adopt {
		s.useLocked(theirs)
		ours = theirs
	}
	s.mu.Unlock()
	if adopt {
		s.tell(unit)
		s.save(unit)
	}
	if len(ours.Files) > 0 && !(newest && (same || adopt)) {
		s.publish(ctx, ours)
	}
	return ours
}

// refreshAll is refresh of all that is here, and of units that another gateway may have. It writes on disk
// what could not be written before.
func (s *storage) refreshAll(ctx context.Context, units []string) {
	s.mu.Lock()
	unsaved := slices.Collect(maps.Keys(s.unsaved))
	for unit := range s.units {
		if lasting(unit) && !slices.Contains(units, unit) {
			units = append(units, unit)
		}
	}
	s.mu.Unlock()
	for _, unit := range unsaved {
		s.save(unit)
	}
	for _, unit := range units {
		s.refresh(ctx, unit)
	}
}

// load returns a bundle as it is here; one without files if there is none.
func (s *storage) load(unit string) bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.units[unit]
}

// Load implements certmagic.Storage.
func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	unit, name := unitOf(key)
	text, ok := s.refresh(ctx, unit).Files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return text, nil
}

// Exists implements certmagic.Storage.
func (s *storage) Exists(ctx context.Context, key string) bool {
	_, err := s.Load(ctx, key)
	return err == nil
}

// Delete implements certmagic.Storage. With a part of an account all of it is gone. A part of a certificate is
// taken back where it could not be stored whole, and the one before stays.
func (s *storage) Delete(ctx context.Context, key string) error {
	unit, name := unitOf(key)
	s.mu.Lock()
	var gone []string
	if strings.HasPrefix(unit, "certificates/") {
		delete(s.staged, unit)
	} else if _, ok := s.units[unit].Files[name]; ok {
		gone = append(gone, unit)
	}
	for other := range s.units {
		if other != unit && (other == key || strings.HasPrefix(other, key+"/")) {
			gone = append(gone, other)
		}
	}
	for _, unit := range gone {
		delete(s.units, unit)
		delete(s.unsaved, unit)
	}
	s.mu.Unlock()
	var errs []error
	for _, unit := range gone {
		s.disk.Lock()
		err := (atomicfile.OS{}).Remove(fileOf(s.dir, unit))
		s.disk.Unlock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		if s.shared != nil {
			_, _, _ = failover.Offer(ctx, s.health, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.shared.Delete(ctx, unit) })
		}
	}
	return errors.Join(errs...)
}

// List implements certmagic.Storage, with what is here.
func (s *storage) List(_ context.Context, prefix string, recursive bool) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]bool{}
	for unit, b := range s.units {
		for name := range b.Files {
			key := path.Join(unit, name)
			if u, _ := unitOf(unit); u == unit {
				key = unit // it stands alone
			}
			rest, ok := strings.CutPrefix(key, prefix+"/")
			if !ok {
				continue
			}
			if first, _, deep := strings.Cut(rest, "/"); deep && !recursive {
				rest = first
			}
			found[path.Join(prefix, rest)] = true
		}
	}
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	keys := make([]string, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys, nil
}

// Stat implements certmagic.Storage.
func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	text, err := s.Load(ctx, key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	unit, _ := unitOf(key)
	return certmagic.KeyInfo{Key: key, Modified: s.load(unit).Modified, Size: int64(len(text)), IsTerminal: true}, nil
}
