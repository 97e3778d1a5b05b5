package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/storetest"
)

func keyOf(i int) string { return fmt.Sprintf("%064d", i) }
func refOf(i int, c *env.Clock) session.Ref {
	return session.Ref{Key: keyOf(i), Issued: c.Now(), Absolute: c.Now().Add(time.Hour + time.Duration(i)*time.Second)}
}

func TestSessions(t *testing.T) {
	storetest.Sessions(t, func(*testing.T) storetest.SessionStore {
		c := &env.Clock{}
		return storetest.SessionStore{
			Store: memory.NewSessions(memory.SessionsConfig{Now: c.Now}),
			Now:   c.Now, Sleep: c.Advance,
		}
	})
}

func TestSessionRecordsAreBoundedAndTheLeastUsedGoesFirst(t *testing.T) {
	c, ctx := &env.Clock{}, context.Background()
	s := memory.NewSessions(memory.SessionsConfig{Bytes: 5000, Now: c.Now})
	rec := session.Record{Claims: session.Claims{Generation: 1, Issued: c.Now(), Idle: c.Now().Add(time.Hour), Absolute: c.Now().Add(time.Hour)}}
	for i := range 100 {
		if err := s.Save(ctx, keyOf(i), rec); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(ctx, refOf(0, c)); err != nil {
			t.Fatalf("after %d other records the one in use is gone: %v", i, err)
		}
	}
	kept := 0
	for i := range 100 {
		if _, err := s.Load(ctx, refOf(i, c)); err == nil {
			kept++
		}
	}
	if kept < 5 || kept > 5000/500 {
		t.Errorf("%d of 100 records kept in 5000 bytes", kept)
	}
	if _, err := s.Load(ctx, refOf(99, c)); err != nil {
		t.Errorf("the newest: %v", err)
	}
	if n := len(sessionsOf(t, s, "")); n != kept {
		t.Errorf("%d records listed, %d kept", n, kept)
	}
}

func sessionsOf(t *testing.T, s *memory.Sessions, user string) (keys []string) {
	t.Helper()
	if err := s.ListUser(t.Context(), user, func(key string, _ session.Record) bool {
		keys = append(keys, key)
		return true
	}); err != nil {
		t.Error(err)
	}
	slices.Sort(keys)
	return keys
}

// The sessions of a user are found by the user, who may change with a login.
func TestSessionsOfAUser(t *testing.T) {
	c := &env.Clock{}
	s := memory.NewSessions(memory.SessionsConfig{Now: c.Now})
	save := func(i int, generation uint64, user string, life time.Duration) {
		t.Helper()
		end := c.Now().Add(life)
		if err := s.Save(t.Context(), keyOf(i), session.Record{Claims: session.Claims{Generation: generation, User: user, Issued: c.Now(), Idle: end, Absolute: end}}); err != nil {
			t.Fatal(err)
		}
	}
	save(1, 1, "", time.Hour)
	save(2, 1, "ada", time.Hour)
	save(3, 1, "ada", time.Minute)
	save(4, 1, "ben", time.Hour)
	save(1, 2, "ada", time.Hour)
	want := func(when, user string, keys ...string) {
		t.Helper()
		if got := sessionsOf(t, s, user); !slices.Equal(got, keys) {
			t.Errorf("%s, %q has %q", when, user, got)
		}
	}
	want("after logins", "ada", keyOf(1), keyOf(2), keyOf(3))
	want("after logins", "ben", keyOf(4))
	want("after logins", "")
	c.Advance(2 * time.Minute)
	want("after the end of one", "ada", keyOf(1), keyOf(2))
}

func TestRevocationsAreBoundedAndTheSoonestToEndGoesFirst(t *testing.T) {
	c, ctx, full := &env.Clock{}, context.Background(), 0
	s := memory.NewSessions(memory.SessionsConfig{Revocations: 10, Now: c.Now, Full: func() { full++ }})
	for _, i := range []int{15, 3, 8, 19, 0, 12, 7, 1, 16, 5, 11, 2, 18, 9, 4, 14, 6, 17, 10, 13} {
		if err := s.Revoke(ctx, []session.Revocation{refOf(i, c).Revocation()}); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // the first to end becomes the last
			extended := refOf(0, c)
			extended.Absolute = extended.Absolute.Add(time.Hour)
			if err := s.Revoke(ctx, []session.Revocation{extended.Revocation()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 20 {
		_, err := s.Load(ctx, refOf(i, c))
		if want := i > 10 || i == 0; errors.Is(err, session.ErrRevoked) != want {
			t.Errorf("session %d: %v, want revoked %v", i, err, want)
		}
	}
	if n := len(s.Revocations()); n != 10 {
		t.Errorf("%d revocations, want 10", n)
	}
	if got, want := s.Forgotten(), refOf(10, c).Issued; !got.Equal(want) || full != 1 {
		t.Errorf("forgotten up to %v, Full called %d times; want %v, once", got, full, want)
	}
	c.Advance(time.Hour + 15*time.Second)
	if n := len(s.Revocations()); n != 5 {
		t.Errorf("%d revocations, want the 5 that end later", n)
	}
	if got := s.Forgotten(); !got.IsZero() {
		t.Errorf("after the end still forgotten up to %v", got)
	}
}
