package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
)

// Listed is a session as an operator sees it: nothing in it lets one use the session.
type Listed struct {
	Key      string    `json:"id"` // Key of its ID; logs and limits show the first 32 digits
	User     string    `json:"user,omitempty"`
	Roles    []string  `json:"roles,omitempty"`
	Issued   time.Time `json:"issued"`
	Idle     time.Time `json:"ends_unused"` // deadline, moved on by use
	Absolute time.Time `json:"ends"`        // deadline, fixed
	Values   []string  `json:"values,omitempty"`
	Cookies  []string  `json:"cookies,omitempty"` // of the upstream; names only, as Values
}

// listed returns what an operator sees of a record.
func listed(key string, r Record) Listed {
	l := Listed{Key: key, User: r.User, Roles: r.Roles, Issued: r.Issued.UTC(), Idle: r.Idle.UTC(), Absolute: r.Absolute.UTC()}
	l.Values = slices.Sorted(maps.Keys(r.Values))
	for _, c := range r.Jar.Cookies {
		l.Cookies = append(l.Cookies, c.Name)
	}
	return l
}

// Lister is a store whose records can be searched.
type Lister interface {
	// List calls found for each record, in any order, perhaps more than once, until it returns false.
	// ctx bounds the time; an error means that some were left out.
	List(ctx context.Context, found func(key string, r Record) bool) error
}

// Found is the result of a search.
type Found struct {
	Sessions []Listed `json:"sessions"`        // newest first
	More     bool     `json:"more"`            // there are more than maxListed
	Error    string   `json:"error,omitempty"` // why redis was not searched: these are those that this gateway knows
}

// maxListed bounds the sessions of a Found.
const maxListed = 1000

// List returns the sessions that match, of all gateways if the remote store is available. Sessions
// without a record, which their seals alone carry, are not known to anyone but their browsers.
func (f *Failover) List(ctx context.Context, match func(Listed) bool) (Found, error) {
	known, more := map[string]Record{}, false
	collect := func(key string, r Record) bool {
		if old, ok := known[key]; ok && old.Generation >= r.Generation || !match(listed(key, r)) {
			return true
		}
		if more = len(known) == maxListed; !more {
			known[key] = r
		}
		return !more
	}
	if err := f.cfg.Local.List(ctx, collect); err != nil {
		return Found{}, err
	}
	all := Found{Sessions: []Listed{}}
	switch {
	case f.cfg.Search == nil || more:
	case !f.cfg.Switch.Up():
		all.Error = "redis is unavailable"
	default:
		if err := f.cfg.Search.List(ctx, collect); err != nil {
			all.Error = err.Error()
		}
	}
	for key, r := range known {
		within := exchange.With(ctx, &exchange.Exchange{}) // with a budget of its own
		if _, err := f.Load(within, refTo(key, r.Claims)); errors.Is(err, ErrRevoked) {
			continue
		}
		all.Sessions = append(all.Sessions, listed(key, r))
	}
	all.More = more
	all.sort()
	return all, nil
}

// Known returns the sessions of a user that this gateway knows without asking anyone; "": of guests.
func (f *Failover) Known(ctx context.Context, user string) (Found, error) {
	all := Found{Sessions: []Listed{}}
	err := f.cfg.Local.ListUser(ctx, user, func(key string, r Record) bool {
		if all.More = len(all.Sessions) == maxListed; all.More {
			return false
		}
		if _, err := f.cfg.Local.Peek(ctx, refTo(key, r.Claims)); err == nil {
			all.Sessions = append(all.Sessions, listed(key, r))
		}
		return true
	})
	all.sort()
	return all, err
}

// sort puts the newest first.
func (f *Found) sort() {
	slices.SortFunc(f.Sessions, func(a, b Listed) int { return cmp.Or(b.Issued.Compare(a.Issued), cmp.Compare(a.Key, b.Key)) })
}

// ErrNoSession says that no record belongs to an operator's ID.
var ErrNoSession = errors.New("no such session")

// minKey is the shortest beginning of a Key that names a session.
const minKey = 8

// Find returns the session whose Key begins with that.
func (f *Failover) Find(ctx context.Context, key string) (Listed, error) {
	if len(key) < minKey {
		return Listed{}, fmt.Errorf("%w: %q is shorter than %d digits", ErrNoSession, key, minKey)
	}
	all, err := f.List(ctx, func(l Listed) bool { return strings.HasPrefix(l.Key, key) })
	switch {
	case err != nil:
		return Listed{}, err
	case len(all.Sessions) == 0 && all.Error != "":
		return Listed{}, fmt.Errorf("%w on this gateway, and redis was not searched: %s", ErrNoSession, all.Error)
	case len(all.Sessions) == 0:
		return Listed{}, ErrNoSession
	case len(all.Sessions) > 1:
		return Listed{}, fmt.Errorf("%w: %d sessions begin with %q", ErrNoSession, len(all.Sessions), key)
	}
	return all.Sessions[0], nil
}

// SessionID is that of the session's Principal.
func (l Listed) SessionID() string { return l.Key[:shortKeyLen] }

// Revocation returns the revocation of a listed session.
func (l Listed) Revocation() Revocation {
	return Ref{Key: l.Key, User: l.User, Issued: l.Issued, Absolute: l.Absolute}.Revocation()
}

// Connected reports whether the remote store, if there is one, is in use.
func (f *Failover) Connected() bool { return f.cfg.Switch == nil || f.cfg.Switch.Up() }

// End revokes on behalf of an operator, like a logout.
func (f *Failover) End(ctx context.Context, r Revocation) error {
	ex := &exchange.Exchange{}
	err := f.Revoke(exchange.With(ctx, ex), []Revocation{r})
	if ex.Facts.Reason != "" {
		err = errors.Join(err, errors.New(ex.Facts.Reason))
	}
	return err
}

// RevokeAll returns a revocation of every session issued up to issued; see RevokeUser.
func RevokeAll(issued, until time.Time) Revocation {
	return Revocation{Subject: everyone, Issued: issued, Until: until}
}

// LongestAfter is when the last session that may exist now ends, with this absolute lifetime in the
// policy.
func LongestAfter(now time.Time, absolute time.Duration) time.Time {
	return now.Add(max(absolute, longAbsolute))
}
