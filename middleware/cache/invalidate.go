package cache

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/middleware"
)

// invalidate purges what a request with an unsafe method changed: the tags that
// its route names, the groups that the response names (RFC 9875, 3) and, where
// GETs of its URI are cached, that URI with those in Location and
// Content-Location (RFC 9111, 4.4). It is done before the client has the answer,
// so that who writes reads the new state. It returns what it purged.
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
	if err := c.tags.Purge(ctx, tags...); err != nil {
		ex.Facts.Note("purge done here, and perhaps not elsewhere: " + err.Error())
	}
	return tags
}

// written are the tags of what a write changes that is answered with the header; nil:
// without an answer.
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
		if v.Path, bad = middleware.CanonicalPath(u.EscapedPath()); bad != "" {
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
