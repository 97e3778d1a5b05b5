package cache

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// invalidate purges what a request with an unsafe method changed: the tags that its route names,
// the groups that the response names (RFC 9875, 3) and, where GETs of its URI are cached, that URI
// and those in Location and Content-Location (RFC 9111, 4.4). It purges before the client gets the
// response, so that a client reads its own writes. It returns what it purged.
func (c *Cache) invalidate(ctx context.Context, ex *exchange.Exchange, resp *http.Response) (tags []string) {
	if ex.Route == nil || !rfc9111.Unsafe(ex.View.Method) {
		return nil
	}
	tags = groupTags(ex, resp.Header["Cache-Group-Invalidation"])
	if rfc9111.Invalidates(ex.View.Method, resp.StatusCode) {
		tags = append(tags, c.written(ex, resp.Header)...)
	}
	slices.Sort(tags)
	if tags = slices.Compact(tags); len(tags) == 0 {
		return nil
	}
	if err := c.purge(ctx, tags...); err != nil {
		ex.Facts.Note("purged on this gateway, perhaps not on others: " + err.Error())
	}
	return tags
}

// written are the tags of what a write changes. h is the header of its response; nil: there was
// none.
func (c *Cache) written(ex *exchange.Exchange, h http.Header) (tags []string) {
	for _, t := range ex.Route.Invalidates {
		tags = append(tags, t.Expand(ex.Params))
	}
	return append(tags, urisOf(ex, h)...)
}

// urisOf are the tags of the URIs that a write invalidates.
func urisOf(ex *exchange.Exchange, h http.Header) (tags []string) {
	v, target := ex.View, requestURL(ex)
	v.Method = http.MethodGet
	for _, u := range append(rfc9111.InvalidatedToo(target, h), target) {
		var bad string
		if v.Path, bad = middleware.CanonicalPath(middleware.SentPath(u), ex.Snapshot.Policy.Server.DecodesSlashes()); bad != "" {
			continue // nothing is stored under it
		}
		if route, _ := ex.Snapshot.Match(&v); route != nil && route.Cache != nil {
			tags = append(tags, uriTag(v.Host, v.Path))
		}
	}
	return tags
}

// requestURL is the URI of the request as the client sees it.
func requestURL(ex *exchange.Exchange) *url.URL {
	u := &url.URL{Scheme: "http", Host: ex.View.Authority}
	if ex.View.TLS {
		u.Scheme = "https"
	}
	path, err := url.PathUnescape(ex.View.Path)
	if err != nil {
		path = ex.View.Path
	}
	u.Path, u.RawPath, u.RawQuery = path, ex.View.Path, ex.View.Query
	return u
}

// groupTags are the tags of the groups that a field names. A group belongs to one origin (RFC 9875,
// 2.1).
func groupTags(ex *exchange.Exchange, lines []string) (tags []string) {
	groups := rfc9111.Groups(lines)
	if len(groups) == 0 {
		return nil
	}
	prefix := "group:" + rfc9111.Origin(requestURL(ex)) + " "
	for _, name := range groups {
		tags = append(tags, prefix+name)
	}
	return tags
}

// groupTag is the tag of a group of any origin, for the operator's purges.
func groupTag(name string) string { return "groups:" + name }

// tag adds the tags that the response names: its groups (RFC 9875, 2) and those in tagFields. They
// are known only now. If anything was purged since the upstream was asked, it may have been these;
// then the entry must not be stored.
func (c *call) tag(e *Entry, got head) rfc9111.Refusal {
	tags := groupTags(c.ex, got.header["Cache-Groups"])
	for _, name := range rfc9111.Groups(got.header["Cache-Groups"]) {
		tags = append(tags, groupTag(name))
	}
	named, found := responseTags(got.header)
	if !found {
		named = got.tags
	}
	tags = append(tags, named...)
	e.Tags = named
	switch {
	case len(tags) == 0:
		return rfc9111.Accepted
	case len(tags) > maxTags:
		return refusedTags
	}
	e.Marks = slices.Concat(got.marks, c.cache.tags.Marks(tags))
	e.Soft = slices.Concat(got.soft, c.cache.tags.softMarks(tags))
	if c.cache.tags.changes() != got.changes {
		return refusedPurged
	}
	return rfc9111.Accepted
}

// tagFields are the response fields that name tags, with what separates these.
var tagFields = map[string]string{"Surrogate-Key": " ", "Cache-Tag": ","}

// maxTags bounds the tags that a response names.
const maxTags = 128

// responseTags returns the tags in tagFields, without malformed ones, which no purge can name, and
// whether there is such a field.
func responseTags(h http.Header) (tags []string, found bool) {
	for field, separator := range tagFields {
		for _, line := range h[field] {
			found = true
			for tag := range strings.SplitSeq(line, separator) {
				if tag = strings.TrimSpace(tag); wellFormedTag(tag) {
					tags = append(tags, tag)
				}
			}
		}
	}
	return tags, found
}

// stripTags removes tagFields: they are between the upstream and this cache, unless the policy says
// that clients get them.
func stripTags(ex *exchange.Exchange, h http.Header) {
	if !ex.Snapshot.Policy.Cache.ExposeTags {
		for field := range tagFields {
			delete(h, field)
		}
	}
}

// sessionTags are the tags of private entries: the session's and, except for guests, the user's.
func sessionTags(who exchange.Principal) (tags []string) {
	if who.SessionID != "" {
		tags = append(tags, "session:"+who.SessionID)
	}
	if who.User != "" {
		tags = append(tags, "session.user:"+who.User)
	}
	return tags
}

// EndSession purges the private entries of the request's session or, with everywhere, of all
// sessions of its user.
func (c *Cache) EndSession(ctx context.Context, ex *exchange.Exchange, everywhere bool) error {
	who := ex.Principal
	if who.Anonymous() {
		return nil
	}
	if !everywhere {
		who.User = ""
	}
	return c.EndSessions(ctx, ex.Snapshot, who)
}

// EndSessions purges the private entries of the session that who names, and of all sessions of the
// user that it names; of everyone if it names none. See Tags.Purge. No key is made of an ended
// session again; the purge only keeps its data from staying in the stores. It does nothing if the
// policy has no private entries.
func (c *Cache) EndSessions(ctx context.Context, s *policy.Snapshot, who exchange.Principal) error {
	tags, everyones := sessionTags(who), []string(nil)
	for _, r := range s.Routes {
		if r.Cache != nil && r.Cache.Private() {
			everyones = append(everyones, routeTag(r.Name))
		}
	}
	switch {
	case len(everyones) == 0:
		return nil
	case len(tags) == 0:
		tags = everyones
	}
	return c.purge(ctx, tags...)
}
