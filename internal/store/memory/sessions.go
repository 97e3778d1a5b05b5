package memory

import (
	"container/heap"
	"container/list"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jewgo/gateway/middleware/session"
)

// sessionOverhead is roughly the bytes that a record costs beyond its encoding.
const sessionOverhead = 500

// Sessions keeps session records and revocations in memory. Records are bounded by bytes. The least
// recently used is dropped first; its session stays valid by its seal but loses its values here.
// Revocations are bounded by number. The one that ends soonest is dropped first; Forgotten then
// covers it for as long as it would have lasted.
type Sessions struct {
	now            func() time.Time
	maxBytes       int64
	maxRevocations int
	full           func()

	mu      sync.Mutex
	records map[string]*list.Element // of *sessionRecord, by subject; guarded by mu
	recent  *list.List               // of the same, last used first; guarded by mu
	bytes   int64                    // of all records; guarded by mu
	users   map[string]subjects      // that have records; guarded by mu
	revoked map[string]*revocation   // by subject; guarded by mu
	soonest revocationHeap           // of the same; guarded by mu
	dropped session.Revocation       // the latest times of those dropped; guarded by mu
}

// maxOfUser bounds the sessions of one user that are listed; guests have many.
const maxOfUser = 2000

// subjects are those of one user.
type subjects map[string]struct{}

type sessionRecord struct {
	subject    string
	user       string
	generation uint64
	expires    time.Time
	encoded    []byte
}

var _ session.Replica = (*Sessions)(nil)

// SessionsConfig bounds a Sessions.
type SessionsConfig struct {
	Bytes       int64            // of records; 0: 64 MiB
	Revocations int              // about 300 bytes each; 0: MaxRevocations
	Now         func() time.Time // nil: time.Now
	Full        func()           // called when the first revocation is dropped; nil: none
}

// MaxRevocations is the default bound of revocations: with sessions of 720 h, 34,000 logouts a day.
const MaxRevocations = 1 << 20

// NewSessions returns an empty store.
func NewSessions(cfg SessionsConfig) *Sessions {
	if cfg.Bytes == 0 {
		cfg.Bytes = 64 << 20
	}
	if cfg.Revocations == 0 {
		cfg.Revocations = MaxRevocations
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Full == nil {
		cfg.Full = func() {}
	}
	return &Sessions{
		now: cfg.Now, full: sync.OnceFunc(cfg.Full), maxBytes: cfg.Bytes, maxRevocations: cfg.Revocations,
		records: map[string]*list.Element{}, recent: list.New(), users: map[string]subjects{}, revoked: map[string]*revocation{},
	}
}

// Load implements session.Store.
func (s *Sessions) Load(_ context.Context, ref session.Ref) (session.Record, error) {
	return s.load(ref, true)
}

// Peek implements session.Replica.
func (s *Sessions) Peek(_ context.Context, ref session.Ref) (session.Record, error) {
	return s.load(ref, false)
}

func (s *Sessions) load(ref session.Ref, use bool) (session.Record, error) {
	encoded, err := s.find(ref, use)
	if err != nil {
		return session.Record{}, err
	}
	return session.DecodeRecord(encoded)
}

func (s *Sessions) find(ref session.Ref, use bool) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revokedLocked(ref) {
		return nil, session.ErrRevoked
	}
	e, ok := s.records[ref.Subjects()[0]]
	if !ok {
		return nil, session.ErrUnknown
	}
	r := e.Value.(*sessionRecord)
	if !s.now().Before(r.expires) {
		s.removeLocked(e)
		return nil, session.ErrUnknown
	}
	if use {
		s.recent.MoveToFront(e)
	}
	return r.encoded, nil // never modified
}

// List implements session.Lister.
func (s *Sessions) List(ctx context.Context, found func(key string, r session.Record) bool) error {
	s.mu.Lock()
	all := make([]*sessionRecord, 0, len(s.records))
	for _, e := range s.records {
		all = append(all, e.Value.(*sessionRecord)) // never modified
	}
	s.mu.Unlock()
	return s.decode(ctx, all, found)
}

// ListUser implements session.Replica.
func (s *Sessions) ListUser(ctx context.Context, user string, found func(key string, r session.Record) bool) error {
	s.mu.Lock()
	all := make([]*sessionRecord, 0, min(len(s.users[user]), maxOfUser))
	for subject := range s.users[user] {
		if len(all) == maxOfUser {
			break
		}
		all = append(all, s.records[subject].Value.(*sessionRecord))
	}
	s.mu.Unlock()
	return s.decode(ctx, all, found)
}

// decode calls found for each record that has not ended, until it returns false.
func (s *Sessions) decode(ctx context.Context, all []*sessionRecord, found func(key string, r session.Record) bool) error {
	for _, r := range all {
		record, err := session.DecodeRecord(r.encoded)
		if err != nil || !s.now().Before(r.expires) {
			continue
		}
		if ctx.Err() != nil || !found(strings.TrimPrefix(r.subject, "s:"), record) {
			return ctx.Err()
		}
	}
	return nil
}

// Save implements session.Store.
func (s *Sessions) Save(_ context.Context, key string, rec session.Record) error {
	encoded, err := rec.Encode()
	if err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ref := session.Ref{Key: key, User: rec.User, Issued: rec.Issued}
	if s.revokedLocked(ref) {
		return session.ErrRevoked
	}
	subject := ref.Subjects()[0]
	now := s.now()
	if e, ok := s.records[subject]; ok {
		old := e.Value.(*sessionRecord)
		if now.Before(old.expires) && rec.Generation <= old.generation {
			return session.ErrStale
		}
		s.removeLocked(e)
	}
	if !now.Before(rec.Idle) {
		return nil // expired already
	}
	s.records[subject] = s.recent.PushFront(&sessionRecord{subject, rec.User, rec.Generation, rec.Idle, encoded})
	if s.users[rec.User] == nil {
		s.users[rec.User] = subjects{}
	}
	s.users[rec.User][subject] = struct{}{}
	s.bytes += int64(len(encoded)) + sessionOverhead
	for s.bytes > s.maxBytes {
		s.removeLocked(s.recent.Back())
	}
	return nil
}

func (s *Sessions) removeLocked(e *list.Element) {
	r := s.recent.Remove(e).(*sessionRecord)
	delete(s.records, r.subject)
	if delete(s.users[r.user], r.subject); len(s.users[r.user]) == 0 {
		delete(s.users, r.user)
	}
	s.bytes -= int64(len(r.encoded)) + sessionOverhead
}

// Revoke implements session.Store; it never fails.
func (s *Sessions) Revoke(_ context.Context, revocations []session.Revocation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, r := range revocations {
		if e, ok := s.records[r.Subject]; ok {
			s.removeLocked(e)
		}
		old, ok := s.revoked[r.Subject]
		switch {
		case !now.Before(r.Until):
		case ok:
			old.Issued, old.Until = later(old.Issued, r.Issued), later(old.Until, r.Until)
			heap.Fix(&s.soonest, old.index)
		default:
			added := &revocation{Revocation: r}
			s.revoked[r.Subject] = added
			heap.Push(&s.soonest, added)
		}
	}
	for len(s.soonest) > 0 && (len(s.soonest) > s.maxRevocations || !now.Before(s.soonest[0].Until)) {
		r := heap.Pop(&s.soonest).(*revocation)
		delete(s.revoked, r.Subject)
		if now.Before(r.Until) {
			s.dropped.Issued, s.dropped.Until = later(s.dropped.Issued, r.Issued), later(s.dropped.Until, r.Until)
			s.full()
		}
	}
	return nil
}

// Len is how many records and revocations are kept.
func (s *Sessions) Len() (records, revocations int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records), len(s.revoked)
}

// Forgotten implements session.Replica.
func (s *Sessions) Forgotten() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now().Before(s.dropped.Until) {
		return time.Time{}
	}
	return s.dropped.Issued
}

// Revocations implements session.Replica.
func (s *Sessions) Revocations() []session.Revocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	all := make([]session.Revocation, 0, len(s.soonest))
	for _, r := range s.soonest {
		if now.Before(r.Until) {
			all = append(all, r.Revocation)
		}
	}
	return all
}

func (s *Sessions) revokedLocked(ref session.Ref) bool {
	now := s.now()
	for _, subject := range ref.Subjects() {
		if r, ok := s.revoked[subject]; ok && now.Before(r.Until) && !ref.Issued.After(r.Issued) {
			return true
		}
	}
	return false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// revocation is a revocation in force, with its place in the heap.
type revocation struct {
	session.Revocation
	index int
}

// revocationHeap is a heap with the revocation that ends soonest on top.
type revocationHeap []*revocation

func (h revocationHeap) Len() int           { return len(h) }
func (h revocationHeap) Less(i, j int) bool { return h[i].Until.Before(h[j].Until) }

func (h revocationHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *revocationHeap) Push(x any) {
	r := x.(*revocation)
	r.index = len(*h)
	*h = append(*h, r)
}

// Pop implements heap.Interface.
func (h *revocationHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return r
}
