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

// bring adds the jar's cookies to the request, and removes the browser's own copies of offloaded
// names. A browser only has such a copy if it was told to keep one (Cookie.Through), had it before
// the name was listed, or made it up. Cache and limits see the same cookies as the upstream.
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

// passesFor reports whether some upstream may read another cookie as a kept one: by its name, or in
// its value, which some upstreams split at commas (RFC 2109) or spaces.
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

// keepCookies moves the offloaded cookies of a response into the session. Without a session it
// starts a guest's.
func (v *visit) keepCookies(h http.Header, lines []string) {
	if len(lines) == 0 {
		return
	}
	makePrivate(h) // a response that sets a cookie is for one client, even after its removal
	if v.overtaken() {
		v.note(errors.New("offloaded Set-Cookie dropped: the session has ended"))
		return
	}
	if p := v.ex.Plan; p != nil && p.Shared && v.live && len(v.record.Jar.Cookies) > 0 || !used(v.ex.Route) {
		// The request went upstream without the session's cookies, so the upstream could not take
		// them into account.
		v.note(errors.New("offloaded Set-Cookie dropped: the request went upstream without the session's cookies"))
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
		case errors.Is(err, ErrRevoked): // no session is left to keep it in
		case o.why != "" || err != nil:
			h.Add("Set-Cookie", o.line)
			if o.why != "" {
				v.note(fmt.Errorf("cookie %s goes to the browser: it %s", o.Name, o.why))
			}
		case slices.Contains(v.brought, o.Name): // else the browser's old copy would return after the session
			old := http.Cookie{Name: o.Name, Path: o.Path, MaxAge: -1, HttpOnly: true, Secure: v.policy.Cookie.Secure}
			h.Add("Set-Cookie", old.String())
		}
	}
	if err != nil {
		v.note(fmt.Errorf("keep the upstream's cookies: %w", err))
	}
}

// accept applies offers to the session's jar. If they do not fit, the browser keeps the cookies and
// the jar only their names, so that the browser may send them. An error leaves the jar unchanged.
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

// change applies offers to the session's jar, all or none.
func (v *visit) change(offers []offer) error {
	if !v.live {
		jar, _ := Jar{}.with(offers, v.m.now())
		if len(jar.Cookies) == 0 {
			return nil // only deletions
		}
		return v.start(loginArgument{}, Record{Jar: jar})
	}
	if v.seal.Apart {
		return ErrUnreachable // the record's cookies would be lost
	}
	before, cookie := v.record, v.cookie
	now := v.m.now()
	next, deleted := before.Jar.with(offers, now)
	if next.Changed.Equal(before.Jar.Changed) {
		return nil
	}
	if len(next.Cookies) == 0 && v.seal.User == "" && len(before.Values) == 0 {
		v.logout() // an upstream that sends no signals ends a guest's session like this
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
	default: // the seal is enough, if the cookies fit
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

// voided reports whether cookies of a sealed jar were deleted since.
func (v *visit) voided(j Jar) bool {
	if len(j.Cookies) == 0 {
		return false
	}
	_, err := v.m.store.Load(v.ctx, j.ref(v.seal.Ref()))
	return errors.Is(err, ErrRevoked)
}

// takeCookies removes the Set-Cookie fields of these names and returns them.
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
