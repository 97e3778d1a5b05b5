package session

import (
	"context"

	"github.com/jewgo/gateway/internal/failover"
)

// Dry returns a Failover that answers as f does, and keeps and changes nothing. remote is f's remote
// store, or another way to read it, and a Lister if f searches it. down: as if it were unavailable.
func (f *Failover) Dry(remote Store, down bool) *Failover {
	d := &Failover{records: map[string]Ref{}, cfg: FailoverConfig{
		Switch: failover.Rehearse(f.cfg.Switch, down), Remote: readOnly{remote}, Local: unusedReplica{f.cfg.Local},
	}}
	if f.cfg.Search != nil {
		d.cfg.Search, _ = remote.(Lister)
	}
	return d
}

// readOnly is a Store that keeps nothing.
type readOnly struct{ Store }

func (readOnly) Save(context.Context, string, Record) error { return nil }
func (readOnly) Revoke(context.Context, []Revocation) error { return nil }

// unusedReplica is a Replica that keeps nothing, and whose Load does not count as a use.
type unusedReplica struct{ Replica }

func (r unusedReplica) Load(ctx context.Context, ref Ref) (Record, error) { return r.Peek(ctx, ref) }
func (unusedReplica) Save(context.Context, string, Record) error          { return nil }
func (unusedReplica) Revoke(context.Context, []Revocation) error          { return nil }

// enterAs makes a session that an operator names the request's own, unless it was revoked or has
// ended.
func (v *visit) enterAs(l Listed) error {
	if now := v.m.now(); !now.Before(l.Idle) || !now.Before(l.Absolute) {
		return ErrExpired
	}
	claims := Claims{User: l.User, Roles: l.Roles, Issued: l.Issued, Idle: l.Idle, Absolute: l.Absolute}
	return v.enter(Seal{Claims: claims}, refTo(l.Key, claims)) // its ID is secret
}
