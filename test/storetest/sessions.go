package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/middleware/session"
)

// SessionStore is an empty store to test, with its clock.
type SessionStore struct {
	session.Store
	Now   func() time.Time
	Sleep func(time.Duration) // advances Now
}

// Sessions tests the contract of session.Store.
func Sessions(t *testing.T, open func(t *testing.T) SessionStore) {
	for _, test := range sessionTests {
		t.Run(test.says, func(t *testing.T) {
			ctx := exchange.With(context.Background(), &exchange.Exchange{})
			test.run(&sessionTest{SessionStore: open(t), t: t, ctx: ctx})
		})
	}
}

// sessionTest is one test's store and helpers.
type sessionTest struct {
	SessionStore
	t   *testing.T
	ctx context.Context
}

// begin makes a session of the user, issued now.
func (s *sessionTest) begin(user string) (session.Ref, session.Record) {
	now := s.Now().Truncate(time.Millisecond)
	seal := session.Seal{ID: session.NewID(), Claims: session.Claims{
		Generation: 1, User: user, Issued: now, Idle: now.Add(time.Hour), Absolute: now.Add(24 * time.Hour),
	}}
	return seal.Ref(), session.Record{Claims: seal.Claims}
}

// saved is begin, with the session saved in the store.
func (s *sessionTest) saved(user string) (session.Ref, session.Record) {
	s.t.Helper()
	ref, rec := s.begin(user)
	s.save(ref, rec, nil)
	return ref, rec
}

// save saves a record and expects this error; nil: none.
func (s *sessionTest) save(ref session.Ref, rec session.Record, want error) {
	s.t.Helper()
	if err := s.Save(s.ctx, ref.Key, rec); !errors.Is(err, want) {
		s.t.Fatalf("Save generation %d: %v, want %v", rec.Generation, err, want)
	}
}

// together makes eight concurrent calls and returns their errors.
func (s *sessionTest) together(call func(ctx context.Context, i int) error) []error {
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = call(exchange.With(context.Background(), &exchange.Exchange{}), i) })
	}
	wg.Wait()
	return errs
}

func (s *sessionTest) revokeNow(r ...session.Revocation) {
	s.t.Helper()
	if err := s.Revoke(s.ctx, r); err != nil {
		s.t.Fatalf("Revoke: %v", err)
	}
}

// expect loads the session and compares error and generation (0: no record).
func (s *sessionTest) expect(ref session.Ref, want error, generation uint64) {
	s.t.Helper()
	rec, err := s.Load(s.ctx, ref)
	if !errors.Is(err, want) || rec.Generation != generation {
		s.t.Fatalf("Load: generation %d and %v, want %d and %v", rec.Generation, err, generation, want)
	}
}

var sessionTests = []struct {
	says string
	run  func(*sessionTest)
}{
	{"an unknown session is unknown, not revoked", func(s *sessionTest) {
		ref, _ := s.begin("42")
		s.expect(ref, session.ErrUnknown, 0)
	}},
	{"a record comes back as it was saved", func(s *sessionTest) {
		ref, rec := s.begin("42")
		rec.Roles = []string{"editor", "ünï\"code"}
		rec.Values = map[string]string{"": "empty", "k": "v\x00\n"}
		s.save(ref, rec, nil)
		got, err := s.Load(s.ctx, ref)
		if err != nil {
			s.t.Fatal(err)
		}
		if got.User != "42" || strings.Join(got.Roles, " ") != strings.Join(rec.Roles, " ") || !maps.Equal(got.Values, rec.Values) ||
			!got.Issued.Equal(rec.Issued) || !got.Idle.Equal(rec.Idle) || !got.Absolute.Equal(rec.Absolute) {
			s.t.Errorf("got %+v, want %+v", got, rec)
		}
	}},
	{"changing the caller's map does not change the saved record", func(s *sessionTest) {
		ref, rec := s.begin("42")
		rec.Values = map[string]string{"k": "v"}
		s.save(ref, rec, nil)
		rec.Values["k"] = "changed"
		if got, err := s.Load(s.ctx, ref); err != nil || got.Values["k"] != "v" {
			s.t.Errorf("got %v, %v", got.Values, err)
		}
	}},
	{"a record of the same or an earlier generation is stale and changes nothing", func(s *sessionTest) {
		ref, rec := s.begin("42")
		rec.Generation = 5
		s.save(ref, rec, nil)
		for _, generation := range []uint64{1, 4, 5} {
			rec.Generation, rec.Values = generation, map[string]string{"lost": "update"}
			s.save(ref, rec, session.ErrStale)
		}
		if got, _ := s.Load(s.ctx, ref); got.Generation != 5 || got.Values != nil {
			s.t.Errorf("got generation %d with %v", got.Generation, got.Values)
		}
		rec.Generation = 6
		s.save(ref, rec, nil)
		s.expect(ref, nil, 6)
	}},
	{"a record ends at its idle deadline", func(s *sessionTest) {
		ref, rec := s.begin("42")
		rec.Idle = s.Now().Add(time.Second)
		s.save(ref, rec, nil)
		s.expect(ref, nil, 1)
		s.Sleep(2100 * time.Millisecond) // a store may count in whole seconds
		s.expect(ref, session.ErrUnknown, 0)
		s.save(ref, rec, nil)
		s.expect(ref, session.ErrUnknown, 0)
	}},
	{"a record above 16 KiB is refused", func(s *sessionTest) {
		ref, rec := s.begin("42")
		rec.Values = map[string]string{"k": strings.Repeat("x", 16<<10)}
		s.save(ref, rec, session.ErrTooLarge)
		s.expect(ref, session.ErrUnknown, 0)
	}},
	{"a revoked session stays revoked, whatever is saved later", func(s *sessionTest) {
		ref, rec := s.saved("42")
		other, _ := s.saved("42")
		s.revokeNow(ref.Revocation())
		s.revokeNow(ref.Revocation())
		s.expect(ref, session.ErrRevoked, 0)
		rec.Generation = 1000
		s.save(ref, rec, session.ErrRevoked)
		s.expect(ref, session.ErrRevoked, 0)
		s.expect(other, nil, 1)
		never, _ := s.begin("")
		s.revokeNow(never.Revocation())
		s.expect(never, session.ErrRevoked, 0)
	}},
	{"a revocation ends at its Until", func(s *sessionTest) {
		ref, rec := s.begin("42")
		ref.Absolute = s.Now().Add(500 * time.Millisecond)
		s.save(ref, rec, nil)
		s.revokeNow(ref.Revocation())
		s.expect(ref, session.ErrRevoked, 0)
		s.Sleep(700 * time.Millisecond)
		s.expect(ref, session.ErrUnknown, 0)
		s.revokeNow(ref.Revocation())
		s.expect(ref, session.ErrUnknown, 0)
	}},
	{"revoking again never shortens a revocation", func(s *sessionTest) {
		ref, _ := s.begin("42")
		s.revokeNow(ref.Revocation())
		ref.Absolute = s.Now().Add(500 * time.Millisecond)
		s.revokeNow(ref.Revocation())
		s.Sleep(700 * time.Millisecond)
		s.expect(ref, session.ErrRevoked, 0)
	}},
	{"revoking a user ends the sessions issued until then, and no others", func(s *sessionTest) {
		before, beforeRec := s.saved("42")
		unsaved, _ := s.begin("42")
		someone, _ := s.saved("43")
		guest, _ := s.saved("")
		s.revokeNow(session.RevokeUser("42", s.Now(), s.Now().Add(time.Hour)))
		s.Sleep(5 * time.Millisecond)
		after, _ := s.saved("42")
		s.expect(before, session.ErrRevoked, 0)
		s.expect(unsaved, session.ErrRevoked, 0)
		s.expect(someone, nil, 1)
		s.expect(guest, nil, 1)
		s.expect(after, nil, 1)
		beforeRec.Generation = 1000
		_ = s.Save(s.ctx, before.Key, beforeRec) // may be refused or useless
		s.expect(before, session.ErrRevoked, 0)
	}},
	{"a revocation of everyone ends all sessions issued until then", func(s *sessionTest) {
		before, _ := s.saved("42")
		guest, _ := s.saved("")
		s.revokeNow(session.RevokeAll(s.Now(), s.Now().Add(time.Hour)))
		s.Sleep(5 * time.Millisecond)
		after, _ := s.saved("42")
		s.expect(before, session.ErrRevoked, 0)
		s.expect(guest, session.ErrRevoked, 0)
		s.expect(after, nil, 1)
	}},
	{"all records are listed, but for those of ended sessions", func(s *sessionTest) {
		lister, ok := s.Store.(session.Lister)
		if !ok {
			return // the Failover of both has its own tests
		}
		want, _ := s.saved("42")
		guest, _ := s.saved("")
		ended, _ := s.saved("42")
		s.revokeNow(ended.Revocation())
		found := map[string]string{}
		err := lister.List(s.ctx, func(key string, r session.Record) bool {
			found[key] = r.User
			return true
		})
		if err != nil || !maps.Equal(found, map[string]string{want.Key: "42", guest.Key: ""}) {
			s.t.Errorf("found %v, %v", found, err)
		}
		calls := 0
		_ = lister.List(s.ctx, func(string, session.Record) bool { calls++; return false }) // as above
		if calls != 1 {
			s.t.Errorf("%d calls after the first said that it is enough", calls)
		}
	}},
	{"of two revocations of a user the later times count", func(s *sessionTest) {
		ref, _ := s.saved("42")
		s.revokeNow(session.RevokeUser("42", ref.Issued, s.Now().Add(time.Hour)))
		s.revokeNow(session.RevokeUser("42", ref.Issued.Add(-time.Minute), s.Now().Add(500*time.Millisecond)))
		s.expect(ref, session.ErrRevoked, 0)
		s.Sleep(700 * time.Millisecond)
		s.expect(ref, session.ErrRevoked, 0)
	}},
	{"saves that race with a logout never bring the session back", func(s *sessionTest) {
		for round := range 20 {
			ref, rec := s.saved(fmt.Sprint("user", round))
			errs := s.together(func(ctx context.Context, i int) error {
				if i == 3 {
					return s.Revoke(ctx, []session.Revocation{ref.Revocation()})
				}
				mine := rec
				mine.Generation = uint64(2 + i)
				return s.Save(ctx, ref.Key, mine)
			})
			for i, err := range errs {
				if err != nil && (i == 3 || !errors.Is(err, session.ErrRevoked) && !errors.Is(err, session.ErrStale)) {
					s.t.Errorf("call %d: %v", i, err)
				}
			}
			s.expect(ref, session.ErrRevoked, 0)
		}
	}},
	{"of concurrent saves of one generation exactly one wins", func(s *sessionTest) {
		ref, rec := s.saved("42")
		errs := s.together(func(ctx context.Context, i int) error {
			mine := rec
			mine.Generation, mine.Values = 2, map[string]string{"winner": fmt.Sprint(i)}
			return s.Save(ctx, ref.Key, mine)
		})
		got, err := s.Load(s.ctx, ref)
		if err != nil {
			s.t.Fatal(err)
		}
		for i, err := range errs {
			if won := got.Values["winner"] == fmt.Sprint(i); won != (err == nil) || !won && !errors.Is(err, session.ErrStale) {
				s.t.Errorf("save %d: %v; the winner is %s", i, err, got.Values["winner"])
			}
		}
	}},
}
