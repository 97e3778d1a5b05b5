package cache

import (
	"context"
	"slices"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// sessionTags are those of private entries: the session's and, unless it is a
// guest's, its user's.
func sessionTags(who exchange.Principal) []string {
	tags := []string{"session:" + who.SessionID}
	if who.User != "" {
		tags = append(tags, "session.user:"+who.User)
	}
	return tags
}

// EndSession purges the private entries of the session that a request came with
// or, with everywhere, of all sessions of its user, as Tags.Purge does. No key is
// made of a session that has ended: this is so that what it saw does not stay in
// the stores. Where the policy has no private entries it does nothing.
func (c *Cache) EndSession(ctx context.Context, ex *exchange.Exchange, everywhere bool) error {
	keeps := func(r *policy.Route) bool { return r.Cache != nil && r.Cache.Private() }
	if ex.Principal.Anonymous() || !slices.ContainsFunc(ex.Snapshot.Routes, keeps) {
		return nil
	}
	tags := sessionTags(ex.Principal)
	if !everywhere {
		tags = tags[:1]
	}
	return c.tags.Purge(ctx, tags...)
}
