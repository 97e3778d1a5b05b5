package session

import (
	"context"
	"errors"
	"time"
)

// What a Store may answer beside a record. Any other error means that nobody
// could be asked, which says nothing about the session, and in particular not
// that a record may be written in place of the one that could not be read.
var (
	// ErrUnknown: nothing is known of the session. It is no logout.
	ErrUnknown = errors.New("unknown session")
	// ErrRevoked: the session was ended.
	ErrRevoked = errors.New("revoked session")
	// ErrStale: the stored record has the same generation or a later one.
	ErrStale = errors.New("session record changed meanwhile")
)

// ErrUnreachable says that nobody could be asked, and nothing else is wrong.
var ErrUnreachable = errors.New("session store unreachable")

// Store keeps records and revocations. The caller bounds the time through ctx.
type Store interface {
	// Load returns the session's record, ErrRevoked if the session or its user
	// was revoked, and ErrUnknown if there is no record, or none that this
	// version can read.
	Load(ctx context.Context, ref Ref) (Record, error)
	// Save keeps rec under the key of its session's ID until its idle deadline,
	// if its generation is later than that of the record in place (ErrStale),
	// and the session was not revoked (ErrRevoked). A record that is too large
	// is ErrTooLarge.
	Save(ctx context.Context, key string, rec Record) error
	// Revoke keeps each revocation until its end. It may have taken some of
	// them when it fails; revoking twice is revoking once.
	Revoke(ctx context.Context, revocations []Revocation) error
}

// Replica is a local Store that tells what it knows, for a store that lost it.
type Replica interface {
	Store
	// Revocations returns those that have not ended.
	Revocations() []Revocation
	// Forgotten returns up to when sessions were issued of which revocations that
	// have not ended were dropped, since there were too many; zero: none was.
	Forgotten() time.Time
}

// Journal keeps revocations over a restart, and tells the other gateways of them. It
// bounds the time itself.
type Journal interface {
	// Keep returns when the revocations are durable. Where it fails they may
	// become so later. Keeping twice is keeping once. known says that the remote
	// store told of them: nobody waits for that to be durable.
	Keep(ctx context.Context, revocations []Revocation, known bool) error
	// Tell returns when the other gateways that can be reached have them.
	Tell(ctx context.Context, revocations []Revocation)
}

// isAnswer reports whether err is a store's word about a session, as opposed to
// its failure.
func isAnswer(err error) bool {
	return err == nil || errors.Is(err, ErrUnknown) || errors.Is(err, ErrRevoked) ||
		errors.Is(err, ErrStale) || errors.Is(err, ErrTooLarge)
}
