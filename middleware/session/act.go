package session

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jewgo/gateway/policy"
)

// saveAttempts bounds how often a change is retried on a record that others keep changing.
const saveAttempts = 16

// hear obeys the upstream's signal. One that cannot be obeyed is noted and changes nothing.
func (v *visit) hear(lines []string) {
	if !v.ex.Route.SessionSignal {
		v.m.unheard(v.ex)
		return
	}
	if p := v.ex.Plan; p != nil && (p.Lookup || p.Store) {
		v.note(errors.New(SignalHeader + " ignored: the response may come from the cache"))
		return
	}
	s, err := parseSignal(lines)
	if err != nil {
		v.note(fmt.Errorf("malformed %s: %w", SignalHeader, err))
		v.m.warn(v.ex, "malformed: "+err.Error(), exampleOf(lines))
		return
	}
	if v.overtaken() && (s.verb == "set" || s.verb == "logout") {
		v.note(fmt.Errorf("%s: %s ignored: the session has ended", SignalHeader, s.verb))
		return
	}
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

// login ends the request's sessions and starts a new one, so that knowing an old session does not
// give access to the new one. Values and cookies of the first session are kept if it belonged to
// the same user or to a guest.
func (v *visit) login(who loginArgument) {
	var kept Record
	if v.live && (v.seal.User == "" || v.seal.User == who.User) {
		kept = v.record
	}
	if v.live || v.ended { // if it has ended, the other sessions of the request are still alive
		v.revoke(false, v.alsoBrought()...)
	}
	err := v.start(who, kept)
	if errors.Is(err, ErrTooLarge) && len(kept.Values) > 0 {
		v.note(fmt.Errorf("session values dropped at login: %w", err))
		kept.Values = nil
		err = v.start(who, kept)
	}
	if err != nil && len(kept.Jar.Cookies) > 0 {
		v.note(fmt.Errorf("session cookies dropped at login: %w", err))
		err = v.start(who, Record{})
	}
	if err != nil { // the upstream believes in the login, so the old session must not go on
		v.clearCookie()
		v.note(err)
	}
}

// start makes a session with the given values and cookies. After an error there is neither a
// session nor a cookie for it.
func (v *visit) start(who loginArgument, kept Record) error {
	before := v.cookie
	now := v.m.now().Truncate(time.Millisecond)
	absolute := now.Add(v.policy.Absolute.Std()).Truncate(time.Millisecond)
	claims := Claims{
		Generation: 1, User: who.User, Roles: who.Roles,
		Issued: now, Idle: v.idle(now, absolute), Absolute: absolute,
	}
	v.live = false
	v.seal = Seal{ID: NewID(), Claims: claims}
	v.record = Record{Claims: claims, Values: kept.Values, Jar: kept.Jar}
	apart, err := v.setCookie()
	if err == nil {
		err = v.m.store.Save(v.ctx, v.seal.ID.Key(), v.record)
		tooLarge := errors.Is(err, ErrTooLarge) && len(kept.Values) > 0
		if err != nil && !apart && !tooLarge {
			v.note(err) // the seal alone is enough
			err = nil
		}
	}
	if err != nil {
		v.cookie = before
		return err
	}
	v.live, v.known, v.begun = true, true, true
	v.ex.Facts.Session = "created"
	return nil
}

// set merges values into the session's record. Without a session it starts a guest's.
func (v *visit) set(changes map[string]*string) {
	var err error
	if v.live {
		err = v.save(func(r *Record) { r.Values = merge(r.Values, changes) })
		if err == nil {
			_, err = v.setCookie()
		}
	} else {
		err = v.start(loginArgument{}, Record{Values: merge(nil, changes)})
	}
	if err != nil {
		v.note(fmt.Errorf("set session values: %w", err))
	}
}

// save applies a change to the latest record and writes it, again if others wrote meanwhile. A
// record that could not be read is not overwritten, since its content would be lost.
func (v *visit) save(change func(*Record)) error {
	if !v.known {
		return ErrUnreachable
	}
	for attempt := 1; ; attempt++ {
		record := v.record
		change(&record)
		record.Generation++
		err := v.m.store.Save(v.ctx, v.seal.ID.Key(), record)
		if err == nil {
			v.record = record
		}
		if !errors.Is(err, ErrStale) || attempt == saveAttempts {
			return err
		}
		if record, err = v.m.store.Load(v.ctx, v.seal.Ref()); err != nil {
			return err
		}
		v.adopt(record)
	}
}

// merge returns a copy of values with changes applied; nil removes a key.
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

// logout revokes the session and others, and always deletes the cookie.
func (v *visit) logout(others ...Revocation) {
	v.clearCookie()
	if !v.live && !v.ended {
		return
	}
	v.live = false
	v.ex.Facts.Session = "ended"
	v.revoke(len(others) > 0, append(v.alsoBrought(), others...)...)
}

// alsoBrought returns revocations of the request's other sessions: the browser keeps their cookies
// when the first one's is deleted or replaced.
func (v *visit) alsoBrought() (also []Revocation) {
	name := v.policy.Cookie.Name
	for value := range policy.CookieValues(v.ex.View.Header, name) {
		seal, err := v.m.sealer.Open(name, v.ex.View.Host, value, v.m.now())
		if err == nil && seal.ID != v.seal.ID && len(also) < maxSeals {
			also = append(also, seal.Ref().Revocation())
		}
	}
	return also
}

// longAbsolute is assumed as the lifetime of sessions that began under another policy: the default
// of session.absolute.
const longAbsolute = 720 * time.Hour

// logoutAll ends all sessions of the user that were issued until now.
func (v *visit) logoutAll() {
	if !v.live && !v.ended || v.seal.User == "" {
		v.logout()
		return
	}
	now := v.m.now()
	until := LongestAfter(now, v.policy.Absolute.Std())
	if v.seal.Absolute.After(until) {
		until = v.seal.Absolute
	}
	v.logout(RevokeUser(v.seal.User, now, until))
}

// revoke ends the request's session, and others.
func (v *visit) revoke(everywhere bool, others ...Revocation) {
	if err := v.m.store.Revoke(v.ctx, append(others, v.seal.Ref().Revocation())); err != nil {
		v.note(fmt.Errorf("revoke session: %w", err))
	}
	if err := v.m.ended(v.ctx, v.ex, everywhere); err != nil {
		v.note(fmt.Errorf("after the end of a session: %w", err))
	}
}
