// Package session identifies the user of a request, even without the shared store. A session lives
// in one sealed cookie, which any gateway with the keyring can open by itself. The Store adds what a
// seal cannot hold: values and revocations. The upstream logs users in and out by a response header,
// and learns the user of a request from a signed request header.
//
// Two rules matter most. Absence from the Store never ends a session; only a revocation does, and it
// is kept as long as the session could have lived. And session IDs never come from outside: a cookie
// that does not open is no session, and each login makes a new ID.
//
// Upstream cookies that the policy names stay in the session, in its Jar, and end with it. Requests
// that a page of another site makes with a session are refused unless they only read.
//
// Storing records and revocations is left to internal/store/memory and internal/store/redis. The
// hygiene middleware strips forged identity headers from requests; proxy strips the session cookie
// from requests that go upstream.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// ID is a session's secret: 256 random bits. It only leaves the gateway inside a seal.
type ID [32]byte

// NewID returns a fresh ID.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails: it crashes the program instead
	return id
}

// Key names a session in stores: SHA-256 of its ID, 64 hex digits.
func (id ID) Key() string {
	sum := sha256.Sum256(id[:])
	return hex.EncodeToString(sum[:])
}

// Claims are what both seal and record hold. Times are whole milliseconds.
type Claims struct {
	Generation uint64 // counts the writes of the record
	User       string // "" for a guest
	Roles      []string
	Issued     time.Time
	Idle       time.Time // deadline, moved by use
	Absolute   time.Time // deadline, fixed
}

// Seal is what a session cookie carries. With its Jar a session survives the loss of the store. A Jar
// that does not fit is Apart: only in the record.
type Seal struct {
	ID ID
	Claims
	Jar   Jar
	Apart bool
}

// Ref returns what a Store needs to look the session up.
func (s Seal) Ref() Ref { return refTo(s.ID.Key(), s.Claims) }

// Ref names a session to a Store.
type Ref struct {
	Key      string // of its ID
	User     string
	Issued   time.Time
	Absolute time.Time
}

func refTo(key string, c Claims) Ref {
	return Ref{Key: key, User: c.User, Issued: c.Issued, Absolute: c.Absolute}
}

// Revocation ends sessions for good: those of its Subject that were issued up to and including
// Issued. Of two for one subject, the later times count.
type Revocation struct {
	Subject string
	Issued  time.Time
	Until   time.Time // when the last of those sessions ends by itself
}

// Revocation returns the revocation of this one session.
func (r Ref) Revocation() Revocation {
	return Revocation{Subject: r.subject(), Issued: r.Issued, Until: r.Absolute}
}

// RevokeUser returns a revocation of all sessions of a user issued up to issued; the last of them
// expires at until. It compares times of different gateways, so a new login must not follow faster
// than their clocks differ.
func RevokeUser(user string, issued, until time.Time) Revocation {
	return Revocation{Subject: userSubject(user), Issued: issued, Until: until}
}

// Subjects are the subjects whose revocations concern the session: the session first, then everyone
// and, unless it is a guest's, its user. None contains a brace or reveals a name.
func (r Ref) Subjects() []string {
	if r.User == "" {
		return []string{r.subject(), everyone}
	}
	return []string{r.subject(), everyone, userSubject(r.User)}
}

// everyone is the subject of revocations of all sessions.
const everyone = "all"

func (r Ref) subject() string { return "s:" + r.Key }

func userSubject(user string) string {
	sum := sha256.Sum256([]byte(user))
	return "u:" + hex.EncodeToString(sum[:])
}
