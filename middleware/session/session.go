// Package session lets the gateway know who is calling, whatever happens to
// the shared store. A session lives in one sealed cookie, which any gateway
// with the keyring opens without asking anybody; the Store adds what a seal
// cannot hold: values, and revocations. The upstream logs in and out by a
// response header, and learns who is calling from a signed request header.
//
// Two rules carry the rest. Absence from the Store never ends a session; only
// a revocation does, and it is kept for as long as the session could have
// lived. And no session ID ever comes from outside: a cookie that does not open
// is no session, and each login makes a new one.
//
// Cookies of the upstream that the policy names stay in the session, in its Jar,
// and so end with it. Requests that another site's page makes with a session are
// refused unless they only read.
//
// Where records and revocations live is left to internal/store/memory and
// internal/store/redis; stripping forged identity headers from requests, and the
// cookie from those that go upstream, to hygiene and proxy.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// ID is a session's secret: 256 random bits. It leaves the gateway only inside
// a seal.
type ID [32]byte

// NewID returns a fresh ID.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails: it ends the program instead
	return id
}

// Key is what stores know of a session: SHA-256 of its ID, 64 hex digits.
func (id ID) Key() string {
	sum := sha256.Sum256(id[:])
	return hex.EncodeToString(sum[:])
}

// Claims are what seal and record both say about a session. Times are whole
// milliseconds.
type Claims struct {
	Generation uint64 // counts the writes of the record
	User       string // "" for a guest
	Roles      []string
	Issued     time.Time
	Idle       time.Time // deadline, moved on by use
	Absolute   time.Time // deadline, fixed
}

// Seal is what a session cookie carries. With its Jar a session outlives every
// store; one that does not fit is Apart, in the record alone.
type Seal struct {
	ID ID
	Claims
	Jar   Jar
	Apart bool
}

// Ref returns what a Store needs to look the session up.
func (s Seal) Ref() Ref { return refTo(s.ID.Key(), s.Claims) }

// Ref names a session towards a Store.
type Ref struct {
	Key      string // of its ID
	User     string
	Issued   time.Time
	Absolute time.Time
}

func refTo(key string, c Claims) Ref {
	return Ref{Key: key, User: c.User, Issued: c.Issued, Absolute: c.Absolute}
}

// Revocation ends sessions for good: those of its Subject that were issued up
// to and including Issued. Of two for one subject the later times stand.
type Revocation struct {
	Subject string
	Issued  time.Time
	Until   time.Time // when the last of those sessions ends by itself
}

// Revocation ends this one session.
func (r Ref) Revocation() Revocation {
	return Revocation{Subject: r.subject(), Issued: r.Issued, Until: r.Absolute}
}

// RevokeUser ends all sessions of a user issued up to then, the latest of which
// ends by itself at until. Gateways compare their clocks here: a login must not
// follow sooner than they differ.
func RevokeUser(user string, issued, until time.Time) Revocation {
	return Revocation{Subject: userSubject(user), Issued: issued, Until: until}
}

// Subjects are those whose revocations concern the session: itself first and,
// unless it is a guest's, its user. None contains a brace or reveals a name.
func (r Ref) Subjects() []string {
	if r.User == "" {
		return []string{r.subject()}
	}
	return []string{r.subject(), userSubject(r.User)}
}

func (r Ref) subject() string { return "s:" + r.Key }

func userSubject(user string) string {
	sum := sha256.Sum256([]byte(user))
	return "u:" + hex.EncodeToString(sum[:])
}
