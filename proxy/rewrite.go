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

// rewrite makes the request that goes upstream; scheme and host are chosen by
// Pools, and the host is the client's. ReverseProxy has removed hop-by-hop
// fields, so that nothing that is set here can be named in Connection.
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
		h["X-Forwarded-For"] = []string{view.Client.String()}
	}
	pr.Out.Host = view.Authority // as it is keyed: upstreams make links of it
	h["X-Forwarded-Host"] = []string{view.Authority}
	if view.TLS {
		h["X-Forwarded-Proto"] = []string{"https"}
	} else {
		h["X-Forwarded-Proto"] = []string{"http"}
	}
	if ex.RequestID != "" {
		h["X-Request-Id"] = []string{ex.RequestID}
	}
	h.Add("Via", via(pr.In.ProtoMajor, pr.In.ProtoMinor))
	c.body(pr)
}

// upstreamURL is the URL that was matched and, where there is a Plan, keyed: the
// upstream is to see nothing else.
func upstreamURL(ex *exchange.Exchange) *url.URL {
	u := &url.URL{RawPath: ex.View.Path, RawQuery: ex.View.Query}
	if ex.Plan != nil {
		u.RawQuery = ex.Plan.Query
	}
	path, err := url.PathUnescape(ex.View.Path)
	if err != nil { // not canonical: sent as literal text, which is matched by nothing else
		path, u.RawPath = ex.View.Path, ""
	}
	u.Path = path
	return u
}

// limitUpgrade leaves a request to switch protocols only where the route says
// so, and only to WebSocket: an h2c connection would go past everything. A
// request with a body cannot switch, since it would leave the body's reader on
// a connection that is no longer the server's.
func limitUpgrade(h http.Header, webSocket bool) {
	if protocol := h.Get("Upgrade"); protocol != "" && (!webSocket || !strings.EqualFold(protocol, "websocket")) {
		delete(h, "Upgrade")
		delete(h, "Connection")
	}
}

// credentials settles who the upstream believes is calling. A request whose
// response may go to anyone is nobody's; Authorization stays, as the standard
// has rules for it (RFC 9111, 3.5).
func (c *call) credentials(h http.Header) {
	ex := c.ex
	if own := ex.Snapshot.Policy.Session.Cookie.Name; own != "" { // not the policy's in force now, which may have been reloaded
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

// body puts an upload around the body and lets announced trailers pass.
// ReverseProxy copies the trailers' names before their values are there.
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

// rewriteResponse is done to a response as it arrives, before anything stores
// it. The request's ID is the gateway's to tell: stored, the upstream's echo of it
// would tell others the ID of another request.
func rewriteResponse(resp *http.Response) {
	delete(resp.Header, "Server")
	delete(resp.Header, "X-Request-Id")
	resp.Header.Add("Via", via(resp.ProtoMajor, resp.ProtoMinor))
}

// via is the gateway's entry for a message that it received in that version
// (RFC 9110, 7.6.3).
func via(major, minor int) string {
	if major == 1 && minor == 1 {
		return "1.1 edge"
	}
	return strconv.Itoa(major) + "." + strconv.Itoa(minor) + " edge"
}
