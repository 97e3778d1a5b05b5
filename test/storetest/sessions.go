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

// SessionStore is a store to be tested, empty, with its clock.
type SessionStore struct {
	session.Store
	Now   func() time.Time
	Sleep func(time.Duration) // lets Now go on
}

// Sessions tests that a store keeps the contract of session.Store.
func Sessions(t *testing.T, open func(t *testing.T) SessionStore) {
	for _, test := range []struct {
		says string
		run  func(*sessionTest)
	}{
		{"an unknown session is unknown, not revoked", (*sessionTest).unknown},
		{"a record comes back as it was saved", (*sessionTest).roundTrip},
		{"a saved record does not change with the caller's map", (*sessionTest).isolation},
		{"a record of the same or an earlier generation is stale and changes nothing", (*sessionTest).stale},
		{"a record ends at its idle deadline", (*sessionTest).expiry},
		{"a record above 16 KiB is refused", (*sessionTest).tooLarge},
		{"a revoked session stays revoked, whatever is saved later", (*sessionTest).revoke},
		{"a revocation ends with its time", (*sessionTest).revocationEnds},
		{"revoking again never shortens a revocation", (*sessionTest).revokeAgain},
		{"revoking a user ends the sessions issued until then, and no others", (*sessionTest).revokeUser},
		{"of two revocations of a user the later stands", (*sessionTest).revokeUserTwice},
		{"saves that run into a logout never bring the session back", (*sessionTest).race},
		{"of saves of one generation exactly one wins", (*sessionTest).oneWins},
	} {
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

// begin gives a session of the user that was issued now.
func (s *sessionTest) begin(user string) (session.Ref, session.Record) {
	now := s.Now().Truncate(time.Millisecond)
	seal := session.Seal{ID: session.NewID(), Claims: session.Claims{
		Generation: 1, User: user, Issued: now, Idle: now.Add(time.Hour), Absolute: now.Add(24 * time.Hour),
	}}
	return seal.Ref(), session.Record{Claims: seal.Claims}
}

func (s *sessionTest) save(ref session.Ref, rec session.Record) {
	s.t.Helper()
	if err := s.Save(s.ctx, ref.Key, rec); err != nil {
		s.t.Fatalf("Save: %v", err)
	}
}

func (s *sessionTest) revokeNow(r ...session.Revocation) {
	s.t.Helper()
	if err := s.Revoke(s.ctx, r); err != nil {
		s.t.Fatalf("Revoke: %v", err)
	}
}

// expect loads the session and compares error and generation (0: none).
func (s *sessionTest) expect(ref session.Ref, want error, generation uint64) {
	s.t.Helper()
	rec, err := s.Load(s.ctx, ref)
	if !errors.Is(err, want) || rec.Generation != generation {
		s.t.Fatalf("Load: generation %d and %v, want %d and %v", rec.Generation, err, generation, want)
	}
}

func (s *sessionTest) unknown() {
	ref, _ := s.begin("42")
	s.expect(ref, session.ErrUnknown, 0)
}

func (s *sessionTest) roundTrip() {
	ref, rec := s.begin("42")
	rec.Roles = []string{"editor", "ünï\"code"}
	rec.Values = map[string]string{"": "empty", "k": "v\x00\n"}
	s.save(ref, rec)
	got, err := s.Load(s.ctx, ref)
	if err != nil {
		s.t.Fatal(err)
	}
	if got.User != "42" || strings.Join(got.Roles, " ") != strings.Join(rec.Roles, " ") || !maps.Equal(got.Values, rec.Values) ||
		!got.Issued.Equal(rec.Issued) || !got.Idle.Equal(rec.Idle) || !got.Absolute.Equal(rec.Absolute) {
		s.t.Errorf("got %+v, want %+v", got, rec)
	}
}

func (s *sessionTest) isolation() {
	ref, rec := s.begin("42")
	rec.Values = map[string]string{"k": "v"}
	s.save(ref, rec)
	rec.Values["k"] = "changed"
	if got, err := s.Load(s.ctx, ref); err != nil || got.Values["k"] != "v" {
		s.t.Errorf("got %v, %v", got.Values, err)
	}
}

func (s *sessionTest) stale() {
	ref, rec := s.begin("42")
	rec.Generation = 5
	s.save(ref, rec)
	for _, generation := range []uint64{1, 4, 5} {
		rec.Generation, rec.Values = generation, map[string]string{"lost": "update"}
		if err := s.Save(s.ctx, ref.Key, rec); !errors.Is(err, session.ErrStale) {
			s.t.Errorf("generation %d over 5: %v, want ErrStale", generation, err)
		}
	}
	if got, _ := s.Load(s.ctx, ref); got.Generation != 5 || got.Values != nil {
		s.t.Errorf("got generation %d with %v", got.Generation, got.Values)
	}
	rec.Generation = 6
	s.save(ref, rec)
	s.expect(ref, nil, 6)
}

func (s *sessionTest) expiry() {
	ref, rec := s.begin("42")
	rec.Idle = s.Now().Add(time.Second)
	s.save(ref, rec)
	s.expect(ref, nil, 1)
	s.Sleep(2100 * time.Millisecond) // a store may count in whole seconds
	s.expect(ref, session.ErrUnknown, 0)
	s.save(ref, rec)
	s.expect(ref, session.ErrUnknown, 0)
}

func (s *sessionTest) tooLarge() {
	ref, rec := s.begin("42")
	rec.Values = map[string]string{"k": strings.Repeat("x", 16<<10)}
	if err := s.Save(s.ctx, ref.Key, rec); !errors.Is(err, session.ErrTooLarge) {
		s.t.Errorf("Save: %v, want ErrTooLarge", err)
	}
	s.expect(ref, session.ErrUnknown, 0)
}

func (s *sessionTest) revoke() {
	ref, rec := s.begin("42")
	other, otherRec := s.begin("42")
	s.save(ref, rec)
	s.save(other, otherRec)
	s.revokeNow(ref.Revocation())
	s.revokeNow(ref.Revocation())
	s.expect(ref, session.ErrRevoked, 0)
	rec.Generation = 1000
	if err := s.Save(s.ctx, ref.Key, rec); !errors.Is(err, session.ErrRevoked) {
		s.t.Errorf("Save: %v, want ErrRevoked", err)
	}
	s.expect(ref, session.ErrRevoked, 0)
	s.expect(other, nil, 1)
	never, _ := s.begin("")
	s.revokeNow(never.Revocation())
	s.expect(never, session.ErrRevoked, 0)
}

func (s *sessionTest) revocationEnds() {
	ref, rec := s.begin("42")
	ref.Absolute = s.Now().Add(500 * time.Millisecond)
	s.save(ref, rec)
	s.revokeNow(ref.Revocation())
	s.expect(ref, session.ErrRevoked, 0)
	s.Sleep(700 * time.Millisecond)
	s.expect(ref, session.ErrUnknown, 0)
	s.revokeNow(ref.Revocation())
	s.expect(ref, session.ErrUnknown, 0)
}

func (s *sessionTest) revokeAgain() {
	ref, _ := s.begin("42")
	s.revokeNow(ref.Revocation())
	ref.Absolute = s.Now().Add(500 * time.Millisecond)
	s.revokeNow(ref.Revocation())
	s.Sleep(700 * time.Millisecond)
	s.expect(ref, session.ErrRevoked, 0)
}

func (s *sessionTest) revokeUser() {
	before, beforeRec := s.begin("42")
	unsaved, _ := s.begin("42")
	someone, someoneRec := s.begin("43")
	guest, guestRec := s.begin("")
	s.save(before, beforeRec)
	s.save(someone, someoneRec)
	s.save(guest, guestRec)
	s.revokeNow(session.RevokeUser("42", s.Now(), s.Now().Add(time.Hour)))
	s.Sleep(5 * time.Millisecond)
	after, afterRec := s.begin("42")
	s.save(after, afterRec)
	s.expect(before, session.ErrRevoked, 0)
	s.expect(unsaved, session.ErrRevoked, 0)
	s.expect(someone, nil, 1)
	s.expect(guest, nil, 1)
	s.expect(after, nil, 1)
	beforeRec.Generation = 1000
	_ = s.Save(s.ctx, before.Key, beforeRec) // may be refused or useless
	s.expect(before, session.ErrRevoked, 0)
}

func (s *sessionTest) revokeUserTwice() {
	ref, rec := s.begin("42")
	s.save(ref, rec)
	s.revokeNow(session.RevokeUser("42", ref.Issued, s.Now().Add(time.Hour)))
	s.revokeNow(session.RevokeUser("42", ref.Issued.Add(-time.Minute), s.Now().Add(500*time.Millisecond)))
	s.expect(ref, session.ErrRevoked, 0)
	s.Sleep(700 * time.Millisecond)
	s.expect(ref, session.ErrRevoked, 0)
}

func (s *sessionTest) race() {
	for round := range 20 {
		ref, rec := s.begin(fmt.Sprint("user", round))
		s.save(ref, rec)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				ctx := exchange.With(context.Background(), &exchange.Exchange{})
				if i == 3 {
					if err := s.Revoke(ctx, []session.Revocation{ref.Revocation()}); err != nil {
						s.t.Errorf("Revoke: %v", err)
					}
					return
				}
				mine := rec
				mine.Generation = uint64(2 + i)
				if err := s.Save(ctx, ref.Key, mine); err != nil && !errors.Is(err, session.ErrRevoked) && !errors.Is(err, session.ErrStale) {
					s.t.Errorf("Save: %v", err)
				}
			})
		}
		wg.Wait()
		s.expect(ref, session.ErrRevoked, 0)
	}
}

func (s *sessionTest) oneWins() {
	ref, rec := s.begin("42")
	s.save(ref, rec)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			mine := rec
			mine.Generation, mine.Values = 2, map[string]string{"winner": fmt.Sprint(i)}
			errs[i] = s.Save(exchange.With(context.Background(), &exchange.Exchange{}), ref.Key, mine)
		})
	}
	wg.Wait()
	got, err := s.Load(s.ctx, ref)
	if err != nil {
		s.t.Fatal(err)
	}
	for i, err := range errs {
		if won := got.Values["winner"] == fmt.Sprint(i); won != (err == nil) || !won && !errors.Is(err, session.ErrStale) {
			s.t.Errorf("save %d: %v; the winner is %s", i, err, got.Values["winner"])
		}
	}
}
