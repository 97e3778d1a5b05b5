package session

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/packed"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

const (
	// maxUpstreamCookie bounds one cookie's name, value and path, in bytes: more than browsers keep.
	maxUpstreamCookie = 4096
	// maxJar bounds an encoded jar, in bytes. The record holds it beside the session's values.
	maxJar = 8 << 10
	// maxAge bounds a cookie's life, in seconds, as browsers do.
	maxAge = 400 * 24 * 3600
)

// Jar holds upstream cookies that stay in a session instead of the browser (RFC 6265, 5.3). It is
// never modified, only replaced.
type Jar struct {
	Changed time.Time // whole milliseconds; zero: it never held a cookie
	Cookies []Cookie
}

// Cookie is one cookie of a Jar, identified by name and path. The jar belongs to one host, like the
// seal.
type Cookie struct {
	Name, Value, Path string
	Expires           time.Time // whole milliseconds; zero: with the session
	// Through marks a cookie that the browser keeps, and so may send under this name. It has no
	// Value here.
	Through bool
}

// offer is what a Set-Cookie field asks for.
type offer struct {
	Cookie
	line    string
	deletes bool
	foreign bool   // for another domain, so it is not a cookie of the jar
	why     string // not "": why the browser must keep the cookie
}

// cookieName returns the cookie name of a Set-Cookie field.
func cookieName(line string) string {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(pair, "=")
	return strings.Trim(name, " \t")
}

// parseOffer reads a Set-Cookie field of a response to the request v as a browser does (RFC 6265,
// 5.2 and 5.3): the value is not decoded.
func parseOffer(line string, v *policy.View, now time.Time) offer {
	pair, rest, _ := strings.Cut(line, ";")
	_, value, _ := strings.Cut(pair, "=")
	o := offer{line: line, Cookie: Cookie{Name: cookieName(line), Value: strings.Trim(value, " \t"), Path: defaultPath(v.Path)}}
	a, err := http.ParseSetCookie("name=;" + rest) // the attributes alone
	if err != nil {
		a = &http.Cookie{}
	}
	if strings.HasPrefix(a.Path, "/") {
		o.Path = a.Path
	}
	switch {
	case a.MaxAge != 0: // overrides Expires; negative: Max-Age was 0 or less
		o.Expires = now.Add(time.Duration(min(a.MaxAge, maxAge)) * time.Second).Truncate(time.Millisecond)
		o.deletes = a.MaxAge < 0
	case !a.Expires.IsZero() || a.RawExpires != "" && readExpires(a, now):
		o.Expires = a.Expires
		o.deletes = !now.Before(a.Expires)
	}
	switch domain := strings.TrimPrefix(strings.ToLower(a.Domain), "."); {
	case domain != "" && domain != v.Host:
		o.foreign, o.why = true, "is for another domain"
	case !a.HttpOnly && !o.deletes:
		o.why = "lacks HttpOnly, so scripts may read it"
	case len(o.Name)+len(o.Value)+len(o.Path) > maxUpstreamCookie:
		o.why = "is too large"
	}
	return o
}

// defaultPath implements RFC 6265, 5.1.4.
func defaultPath(path string) string {
	if last := strings.LastIndexByte(path, '/'); last > 0 {
		return path[:last]
	}
	return "/"
}

// matches reports whether the cookie is alive and its path matches (RFC 6265, 5.1.4).
func (c Cookie) matches(path string, now time.Time) bool {
	if !c.Expires.IsZero() && !now.Before(c.Expires) {
		return false
	}
	rest, ok := strings.CutPrefix(path, c.Path)
	return ok && (rest == "" || strings.HasSuffix(c.Path, "/") || rest[0] == '/')
}

// with applies offers to the jar, and returns how many of its cookies they deleted. Changed only
// moves if something changed. A cookie that does not fit is left to the browser: its offer gets a
// why.
func (j Jar) with(offers []offer, now time.Time) (next Jar, deleted int) {
	next.Cookies = slices.DeleteFunc(slices.Clone(j.Cookies), func(c Cookie) bool {
		return !c.Expires.IsZero() && !now.Before(c.Expires)
	})
	changed := false
	for i := range offers {
		o := &offers[i]
		at := slices.IndexFunc(next.Cookies, func(c Cookie) bool {
			return c.Name == o.Name && c.Path == o.Path && (c.Through || !o.foreign)
		})
		if at >= 0 && !o.deletes && same(next.Cookies[at], o.kept()) || at < 0 && o.deletes {
			continue
		}
		changed = true
		if at >= 0 {
			next.Cookies = slices.Delete(next.Cookies, at, at+1)
		}
		if o.deletes {
			deleted++
		} else {
			next.add(o)
		}
	}
	if !changed {
		return j, 0
	}
	next.Changed = now.Truncate(time.Millisecond)
	if soonest := j.Changed.Add(time.Millisecond); next.Changed.Before(soonest) {
		next.Changed = soonest // must be later than the copies that a deletion revokes
	}
	return next, deleted
}

// add appends the offer's cookie, or a Through cookie if it does not fit.
func (j *Jar) add(o *offer) {
	room := maxJar - len(j.appendTo(nil))
	for range 2 {
		c := o.kept()
		if len(Jar{Cookies: []Cookie{c}}.appendTo(nil)) <= room {
			j.Cookies = append(j.Cookies, c)
			return
		}
		o.why = "does not fit beside the others"
	}
}

// kept is the part of the offer that the session stores.
func (o *offer) kept() Cookie {
	c := o.Cookie
	if o.why != "" {
		c.Value, c.Through = "", true
	}
	return c
}

// same reports whether replacing a by b is not worth a write.
func same(a, b Cookie) bool {
	moved := b.Expires.Sub(a.Expires).Abs()
	a.Expires = b.Expires
	return a == b && moved < touchInterval
}

// header returns the Cookie field for a request of path: the cookies of these names, longer paths
// first (RFC 6265, 5.4).
func (j Jar) header(names []string, path string, now time.Time) string {
	var matching []Cookie
	for _, c := range j.Cookies {
		if !c.Through && c.matches(path, now) && slices.Contains(names, c.Name) {
			matching = append(matching, c)
		}
	}
	slices.SortStableFunc(matching, func(a, b Cookie) int { return cmp.Compare(len(b.Path), len(a.Path)) })
	pairs := make([]string, len(matching))
	for i, c := range matching {
		pairs[i] = c.Name + "=" + c.Value
	}
	return strings.Join(pairs, "; ")
}

// passes reports whether the browser may send a cookie of that name.
func (j Jar) passes(name string) bool {
	return slices.ContainsFunc(j.Cookies, func(c Cookie) bool { return c.Through && c.Name == name })
}

// ref names the jar to a Store. Revoking it ends the sealed copies of the jar made until then.
func (j Jar) ref(s Ref) Ref {
	sum := sha256.Sum256([]byte("cookies of " + s.Key))
	return Ref{Key: hex.EncodeToString(sum[:]), Issued: j.Changed, Absolute: s.Absolute}
}

// appendTo appends the jar's encoded form: Changed in Unix milliseconds, the number of cookies, and
// for each its name, value, path, expiry (0: none) and Through.
func (j Jar) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(j.Changed.UnixMilli()))
	b = binary.AppendUvarint(b, uint64(len(j.Cookies)))
	for _, c := range j.Cookies {
		for _, text := range []string{c.Name, c.Value, c.Path} {
			b = packed.AppendText(b, text)
		}
		var expires uint64
		if !c.Expires.IsZero() {
			expires = uint64(c.Expires.UnixMilli())
		}
		b = binary.AppendUvarint(b, expires)
		var through byte
		if c.Through {
			through = 1
		}
		b = append(b, through)
	}
	return b
}

// readJar reads what Jar.appendTo wrote.
func readJar(r *packed.Reader) (j Jar) {
	j.Changed = time.UnixMilli(int64(r.Uvarint()))
	for range r.Count() {
		cookie := Cookie{Name: r.Text(), Value: r.Text(), Path: r.Text()}
		if expires := r.Uvarint(); expires != 0 {
			cookie.Expires = time.UnixMilli(int64(expires))
		}
		cookie.Through = r.Byte() == 1
		j.Cookies = append(j.Cookies, cookie)
	}
	return j
}

// readExpires reads dates that browsers accept (RFC 6265, 5.1.1) and net/http does not.
func readExpires(c *http.Cookie, now time.Time) bool {
	if t, ok := rfc9111.ParseDate(c.RawExpires, now); ok {
		c.Expires = t
		return true
	}
	t, err := time.Parse("Mon, 02-Jan-06 15:04:05 MST", c.RawExpires) // Netscape's, with two digits
	c.Expires = t.UTC()
	return err == nil
}
