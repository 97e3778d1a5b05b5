package cache

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// invalidate purges what a request with an unsafe method changed: the tags that
// its route names and, where GETs of its URI are cached, that URI with those in
// Location and Content-Location (RFC 9111, 4.4). It is done before the client
// has the answer, so that who writes reads the new state.
func (c *Cache) invalidate(ctx context.Context, ex *exchange.Exchange, resp *http.Response) {
	v := ex.View
	if ex.Route == nil || !rfc9111.Invalidates(v.Method, resp.StatusCode) {
		return
	}
	var tags []string
	for _, t := range ex.Route.Invalidates {
		tags = append(tags, t.Expand(ex.Params))
	}
	target := requestURL(ex)
	v.Method = http.MethodGet
	for _, u := range append(rfc9111.InvalidatedToo(target, resp.Header), target) {
		v.Path = u.EscapedPath()
		if !strings.HasPrefix(v.Path, "/") {
			continue
		}
		if route, _ := ex.Snapshot.Match(&v); route != nil && route.Cache != nil {
			tags = append(tags, uriTag(v.Host, v.Path))
		}
	}
	if len(tags) == 0 {
		return
	}
	if err := c.tags.Purge(ctx, tags...); err != nil {
		ex.Facts.Note("purge done here, and perhaps not elsewhere: " + err.Error())
	}
}

// requestURL is the URI of the request as the client sees it.
func requestURL(ex *exchange.Exchange) *url.URL {
	u := &url.URL{Scheme: "http", Host: ex.View.Host}
	if ex.View.TLS {
		u.Scheme = "https"
	}
	path, err := url.PathUnescape(ex.View.Path)
	if err != nil {
		path = ex.View.Path
	}
	u.Path, u.RawPath = path, ex.View.Path
	return u
}
