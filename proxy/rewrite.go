package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// rewrite makes the request that goes upstream. Pools chooses the target; the Host field stays the
// client's. ReverseProxy has already removed hop-by-hop fields, so Connection cannot name a field
// that is set here.
func (c *call) rewrite(pr *httputil.ProxyRequest) {
	c.rewritten = true
	ex, h := c.ex, pr.Out.Header
	for name := range h {
		if policy.StaysBehind(name) {
			delete(h, name)
		}
	}
	pr.Out.URL = upstreamURL(ex)
	limitUpgrade(h, ex.Route.WebSocket && pr.Out.Body == nil)
	c.credentials(h)

	view := &ex.View
	if view.Client.IsValid() {
		c.set(h, "X-Forwarded-For", view.Client.String())
	}
	pr.Out.Host = view.Authority // as in the cache key, since upstreams build links from it
	c.set(h, "X-Forwarded-Host", view.Authority)
	scheme := "http"
	if view.TLS {
		scheme = "https"
	}
	c.set(h, "X-Forwarded-Proto", scheme)
	if ex.RequestID != "" {
		c.set(h, "X-Request-Id", ex.RequestID)
	}
	if ex.Traceparent != "" {
		c.set(h, "Traceparent", ex.Traceparent)
	}
	h.Add("Via", via(pr.In.ProtoMajor, pr.In.ProtoMinor, c.h.cfg.Hop))
	c.body(pr)
}

// set is h.Set without an allocation of its own.
func (c *call) set(h http.Header, name, value string) {
	c.values = append(c.values, value)
	h[name] = c.values[len(c.values)-1 : len(c.values) : len(c.values)]
}

// upstreamURL is the URL that was matched and, with a Plan, is in the cache key. The upstream must
// not see a different one.
func upstreamURL(ex *exchange.Exchange) *url.URL {
	u := &url.URL{RawPath: ex.View.Path, RawQuery: ex.View.Query}
	if ex.Plan != nil {
		u.RawQuery = ex.Plan.Query
	}
	path, err := url.PathUnescape(ex.View.Path)
	if err != nil { // not canonical: sent as literal text
		path, u.RawPath = ex.View.Path, ""
	}
	u.Path = path
	return u
}

// limitUpgrade removes an upgrade unless the route allows WebSocket and that is what is requested: an
// h2c connection would bypass everything. A request with a body cannot switch either, since its body
// would still be read from a connection that no longer belongs to the server.
func limitUpgrade(h http.Header, webSocket bool) {
	if protocol := h.Get("Upgrade"); protocol != "" && (!webSocket || !strings.EqualFold(protocol, "websocket")) {
		delete(h, "Upgrade")
		delete(h, "Connection")
	}
}

// credentials sets the identity that the upstream sees. A request whose response may be shared has
// none; Authorization stays, since the standard has rules for it (RFC 9111, 3.5).
func (c *call) credentials(h http.Header) {
	ex := c.ex
	if own := ex.Snapshot.Policy.Session.Cookie.Name; own != "" { // of the request's policy, which a reload may have replaced
		for _, line := range h["Cookie"] {
			if strings.Contains(line, own) {
				policy.FilterCookies(h, func(name, _ string) bool { return name != own })
				break
			}
		}
	}
	h.Del(ex.Snapshot.Policy.Session.Identity.Header)
	if ex.Plan != nil && ex.Plan.Shared {
		return
	}
	if header, value := c.h.cfg.Identity(ex); header != "" {
		h.Del(header)
		if value != "" {
			h.Set(header, value)
		}
	}
}

// body wraps the body in an upload and passes announced trailers. ReverseProxy copies the trailers'
// names before their values have arrived.
func (c *call) body(pr *httputil.ProxyRequest) {
	if pr.Out.Body == nil {
		pr.Out.Trailer = nil
		return
	}
	for name := range pr.Out.Trailer {
		if policy.StaysBehind(name) || strings.EqualFold(name, c.ex.Snapshot.Policy.Session.Identity.Header) {
			delete(pr.Out.Trailer, name)
		}
	}
	c.upload = &upload{body: pr.Out.Body, client: c.ResponseWriter, in: pr.In, trailer: pr.Out.Trailer}
	pr.Out.Body = c.upload
}

// rewriteResponse changes a response as it arrives, before anything stores it. The upstream's echo of
// the request ID is removed: in a stored response it would be the ID of another request.
func rewriteResponse(resp *http.Response) {
	delete(resp.Header, "Server")
	delete(resp.Header, "X-Request-Id")
	resp.Header.Add("Via", via(resp.ProtoMajor, resp.ProtoMinor, pseudonym))
}

// pseudonym is what the gateway calls itself in Via.
const pseudonym = "edge"

// via is the gateway's Via entry for a message received in that version (RFC 9110, 7.6.3).
func via(major, minor int, by string) string {
	if major == 1 && minor == 1 && by == pseudonym {
		return "1.1 " + pseudonym // of nearly every response, without an allocation
	}
	return strconv.Itoa(major) + "." + strconv.Itoa(minor) + " " + by
}
