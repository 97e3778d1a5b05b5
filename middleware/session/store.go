package session

import (
	"context"
	"errors"
	"time"
)

// A Store's answers besides a record. Any other error is a failure of the store and says nothing
// about the session; in particular, the record that could not be read must not be overwritten.
var (
	// ErrUnknown: nothing is known about the session. It is not a logout.
	ErrUnknown = errors.New("unknown session")
	// ErrRevoked: the session was ended.
	ErrRevoked = errors.New("revoked session")
	// ErrStale: the stored record has the same generation or a later one.
	ErrStale = errors.New("session record changed meanwhile")
)

// ErrUnreachable means that the store is unavailable, and nothing else is wrong.
var ErrUnreachable = errors.New("session store unreachable")

// Store keeps records and revocations. The caller bounds the time through ctx.
type Store interface {
	// Load returns the session's record, ErrRevoked if the session or its user was revoked, and
	// ErrUnknown if there is no record that this version can read.
	Load(ctx context.Context, ref Ref) (Record, error)
	// Save keeps rec under the key of its session's ID until its idle deadline, unless the stored
	// record has the same or a later generation (ErrStale), the session was revoked (ErrRevoked), or
	// rec is too large (ErrTooLarge).
	Save(ctx context.Context, key string, rec Record) error
	// Revoke keeps each revocation until its Until. When it fails, some may be kept already; it is
	// idempotent.
	Revoke(ctx context.Context, revocations []Revocation) error
}

// Replica is a local Store that can list its revocations for a store that lost them.
type Replica interface {
	Store
	Lister
	// ListUser is List for the sessions of one user, or for some of them if they are thousands; "": of
	// guests.
	ListUser(ctx context.Context, user string, found func(key string, r Record) bool) error
	// Peek is Load, but does not count as a use.
	Peek(ctx context.Context, ref Ref) (Record, error)
	// Revocations returns those that have not expired.
	Revocations() []Revocation
	// Forgotten returns a time: unexpired revocations of sessions issued up to then were dropped,
	// since there were too many. Zero: none was dropped.
	Forgotten() time.Time
}

// Journal keeps revocations across a restart, and sends them to the other gateways. It bounds the
// time itself.
type Journal interface {
	// Keep returns when the revocations are durable. If it fails they may become durable later. It is
	// idempotent. known means that they came from the remote store: then it need not wait.
	Keep(ctx context.Context, revocations []Revocation, known bool) error
	// Tell returns when all reachable gateways have them.
	Tell(ctx context.Context, revocations []Revocation)
}

// isAnswer reports whether err is a store's answer about a session, not a failure of the store.
func isAnswer(err error) bool {
	return err == nil || errors.Is(err, ErrUnknown) || errors.Is(err, ErrRevoked) ||
		errors.Is(err, ErrStale) || errors.Is(err, ErrTooLarge)
}
