package session

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jewgo/gateway/policy"
)

// bring completes a request's cookies for the upstream: those of the jar join the
// browser's own, whose copies of offloaded names stay behind. A browser has none
// unless it was told to keep one (Cookie.Through), had it before the name was
// listed, or made it up. Cache and limits see what the upstream will.
func (v *visit) bring(h http.Header) {
	names := v.policy.Offload
	if len(names) == 0 {
		return
	}
	policy.FilterCookies(h, func(name, value string) bool {
		if !slices.Contains(names, name) {
			return !slices.ContainsFunc(names, func(kept string) bool { return passesFor(name, value, kept) })
		}
		v.brought = append(v.brought, name)
		if v.live {
			return v.record.Jar.passes(name)
		}
		return v.policy.OffloadMigrate
	})
	if !v.live {
		return
	}
	own := v.record.Jar.header(names, v.ex.View.Path, v.m.now())
	if own == "" {
		return
	}
	// One line: WSGI servers join several with commas.
	h["Cookie"] = []string{strings.Join(append(slices.Clip(h["Cookie"]), own), "; ")}
}

// passesFor reports whether some upstream finds a kept cookie in another one: by its
// name, or in its value, which some split at commas (RFC 2109) or spaces.
func passesFor(name, value, kept string) bool {
	if policy.SameCookie(name, kept) {
		return true
	}
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" \t,\"", r) }) {
		if inner, _, found := strings.Cut(part, "="); found && policy.SameCookie(inner, kept) {
			return true
		}
	}
	return false
}

// keepCookies takes the offloaded cookies of a response into the session.
// A guest gets a session with the first of them.
func (v *visit) keepCookies(h http.Header, lines []string) {
	if len(lines) == 0 {
		return
	}
	makePrivate(h) // what an upstream gives with a cookie is for one client, though the cookie is gone
	if v.overtaken() {
		v.note(errors.New("Set-Cookie of a cookie that stays in the session, which has ended meanwhile: dropped"))
		return
	}
	if p := v.ex.Plan; p != nil && p.Shared && v.live && len(v.record.Jar.Cookies) > 0 || !used(v.ex.Route) {
		// To a request that went upstream without the session's cookies, which
		// knows nothing of who has them.
		v.note(errors.New("Set-Cookie of a cookie that stays in the session, in answer to a request without it: dropped"))
		return
	}
	now := v.m.now()
	var offers []offer
	for _, line := range lines {
		offers = append(offers, parseOffer(line, &v.ex.View, now))
	}
	err := v.accept(offers)
	for i := range offers {
		o := &offers[i]
		switch {
		case errors.Is(err, ErrRevoked): // there is no session any more that it could stay in
		case o.why != "" || err != nil:
			h.Add("Set-Cookie", o.line)
			if o.why != "" {
				v.note(fmt.Errorf("cookie %s goes to the browser: it %s", o.Name, o.why))
			}
		case slices.Contains(v.brought, o.Name): // an old copy would come back after the session
			old := http.Cookie{Name: o.Name, Path: o.Path, MaxAge: -1, HttpOnly: true, Secure: v.policy.Cookie.Secure}
			h.Add("Set-Cookie", old.String())
		}
	}
	if err != nil {
		v.note(fmt.Errorf("keep the upstream's cookies: %w", err))
	}
}

// accept changes the session's jar as offers want it. Where they do not fit, the
// browser keeps the cookies, and the jar their names alone, by which they come back.
// After an error it is as before.
func (v *visit) accept(offers []offer) error {
	err := v.change(offers)
	if !errors.Is(err, ErrTooLarge) {
		return err
	}
	for i := range offers {
		if o := &offers[i]; !o.deletes && o.why == "" {
			o.why = "does not fit beside what the session has"
		}
	}
	return v.change(offers)
}

// change changes the session's jar as offers want it, or not at all.
func (v *visit) change(offers []offer) error {
	if !v.live {
		jar, _ := Jar{}.with(offers, v.m.now())
		if len(jar.Cookies) == 0 {
			return nil // nothing but deletions
		}
		return v.start(loginArgument{}, Record{Jar: jar})
	}
	if v.seal.Apart {
		return ErrUnreachable // what is in the record would be lost
	}
	before, cookie := v.record, v.cookie
	now := v.m.now()
	next, deleted := before.Jar.with(offers, now)
	if next.Changed.Equal(before.Jar.Changed) {
		return nil
	}
	if len(next.Cookies) == 0 && v.seal.User == "" && len(before.Values) == 0 {
		v.logout() // for an upstream that does not speak to the gateway, this is how a guest leaves
		return nil
	}
	err := v.save(func(r *Record) { r.Jar, deleted = r.Jar.with(offers, now) })
	kept := err == nil
	switch {
	case kept:
	case errors.Is(err, ErrRevoked):
		v.disown(err)
		return err
	case errors.Is(err, ErrTooLarge):
		return err
	default: // the seal is enough, if it holds them
		v.record.Jar, deleted = v.record.Jar.with(offers, now)
		v.record.Generation++
	}
	if apart, sealErr := v.setCookie(); sealErr != nil || apart && !kept {
		v.record, v.cookie = before, cookie
		return errors.Join(ErrTooLarge, err, sealErr)
	}
	if deleted > 0 {
		ended := v.record.Jar.ref(v.seal.Ref())
		ended.Issued = v.record.Jar.Changed.Add(-time.Millisecond)
		if err := v.m.store.Revoke(v.ctx, []Revocation{ended.Revocation()}); err != nil {
			v.note(fmt.Errorf("revoke cookies: %w", err))
		}
	}
	return nil
}

// voided tells whether a jar in a seal holds what was deleted since.
func (v *visit) voided(j Jar) bool {
	if len(j.Cookies) == 0 {
		return false
	}
	_, err := v.m.store.Load(v.ctx, j.ref(v.seal.Ref()))
	return errors.Is(err, ErrRevoked)
}

// takeCookies removes the Set-Cookie fields of those names and returns them.
func takeCookies(h http.Header, names []string) (taken []string) {
	lines := h["Set-Cookie"]
	if len(names) == 0 || len(lines) == 0 {
		return nil
	}
	var left []string
	for _, line := range lines {
		if slices.Contains(names, cookieName(line)) {
			taken = append(taken, line)
		} else {
			left = append(left, line)
		}
	}
	if len(taken) > 0 {
		if h["Set-Cookie"] = left; left == nil {
			delete(h, "Set-Cookie")
		}
	}
	return taken
}
