package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// saveAttempts is how often values are merged again into a record that others
// keep changing.
const saveAttempts = 4

// hear does what the upstream says. A signal that cannot be obeyed is noted and
// changes nothing.
func (v *visit) hear(lines []string) {
	if !v.ex.Route.SessionSignal {
		v.note(errUnheard)
		return
	}
	if p := v.ex.Plan; p != nil && (p.Lookup || p.Store) {
		v.note(errors.New(SignalHeader + " on a response that the cache may have replayed"))
		return
	}
	s, err := parseSignal(lines)
	if err != nil {
		v.note(fmt.Errorf("malformed %s: %w", SignalHeader, err))
		return
	}
	// A client that leaves must not stop a logout half-way; the Store's own
	// bounds hold.
	v.ctx = context.WithoutCancel(v.ctx)
	switch s.verb {
	case "login":
		v.login(s.login)
	case "set":
		v.set(s.values)
	case "logout":
		v.logout()
	case "logout-all":
		v.logoutAll()
	}
}

// login ends the session that the request came with and starts another one, so
// that nobody who knew the old one has the new. Values move along if they are
// the same person's, or a guest's.
func (v *visit) login(who loginArgument) {
	var values map[string]string
	if v.live {
		if v.seal.User == "" || v.seal.User == who.User {
			values = v.record.Values
		}
		v.revoke()
	}
	v.start(who, values)
}

// start makes a session. One that does not fit leaves the client without any,
// since what the upstream now believes is not what the old one said.
func (v *visit) start(who loginArgument, values map[string]string) {
	now := v.m.now().Truncate(time.Millisecond)
	absolute := now.Add(v.policy.Absolute.Std()).Truncate(time.Millisecond)
	claims := Claims{
		Generation: 1, User: who.User, Roles: who.Roles,
		Issued: now, Idle: v.idle(now, absolute), Absolute: absolute,
	}
	seal := Seal{ID: NewID(), Claims: claims}
	v.live = false
	if err := v.setCookie(seal); err != nil {
		v.note(err)
		v.clearCookie()
		return
	}
	record := Record{Claims: claims, Values: values}
	if err := v.m.store.Save(v.ctx, seal.ID.Key(), record); err != nil {
		v.note(err) // the seal is enough
	}
	v.live, v.known, v.seal, v.record = true, true, seal, record
	v.ex.Facts.Session = "created"
}

// set merges values into the session's record; a guest gets a session with the
// first of them.
func (v *visit) set(changes map[string]*string) {
	if !v.live {
		v.start(loginArgument{}, merge(nil, changes))
		return
	}
	err := v.save(changes)
	if err == nil {
		err = v.setCookie(v.seal)
	}
	if err != nil {
		v.note(fmt.Errorf("set session values: %w", err))
	}
}

// save writes the record with changes made, on top of what others wrote
// meanwhile. A record that could not be read is not written: what stands in it
// would be lost.
func (v *visit) save(changes map[string]*string) error {
	if !v.known {
		return ErrUnreachable
	}
	for attempt := 1; ; attempt++ {
		record := v.record
		record.Values = merge(record.Values, changes)
		record.Generation = v.nextGeneration()
		err := v.m.store.Save(v.ctx, v.seal.ID.Key(), record)
		if err == nil {
			v.record, v.seal.Generation = record, record.Generation
		}
		if !errors.Is(err, ErrStale) || attempt == saveAttempts {
			return err
		}
		if v.record, err = v.m.store.Load(v.ctx, v.seal.Ref()); err != nil {
			return err
		}
	}
}

// merge returns values with changes made; nil removes.
func merge(values map[string]string, changes map[string]*string) map[string]string {
	merged := maps.Clone(values)
	if merged == nil {
		merged = map[string]string{}
	}
	for k, change := range changes {
		if change == nil {
			delete(merged, k)
		} else {
			merged[k] = *change
		}
	}
	return merged
}

// logout ends the session, and others as given. The cookie goes in any case.
func (v *visit) logout(others ...Revocation) {
	v.clearCookie()
	if !v.live {
		return
	}
	v.live = false
	v.ex.Facts.Session = "ended"
	v.revoke(others...)
}

// logoutAll ends all sessions of the user until now.
func (v *visit) logoutAll() {
	if !v.live || v.seal.User == "" {
		v.logout()
		return
	}
	now := v.m.now()
	until := now.Add(v.policy.Absolute.Std())
	if v.seal.Absolute.After(until) { // begun under another policy
		until = v.seal.Absolute
	}
	v.logout(RevokeUser(v.seal.User, now, until))
}

// revoke ends the session that the request came with; others are its user's.
func (v *visit) revoke(others ...Revocation) {
	if err := v.m.store.Revoke(v.ctx, append(others, v.seal.Ref().Revocation())); err != nil {
		v.note(fmt.Errorf("revoke session: %w", err))
	}
	if err := v.m.ended(v.ctx, v.ex, len(others) > 0); err != nil {
		v.note(fmt.Errorf("after the end of a session: %w", err))
	}
}
