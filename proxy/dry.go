package proxy

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
)

// Dry is a RoundTripper in place of Pools that asks no upstream: it notes what would be sent, and
// answers what it is told. It must not be copied.
type Dry struct {
	// Targets returns the targets from which one would be chosen, and whether health checks took all of them out; see
	// Pools.Candidates.
	Targets func(upstream string, client netip.Addr) (hosts []string, down bool)
	Status  int // of the responses
	Header  http.Header
	Now     func() time.Time
	// Forgetful notes nothing of what would be sent.
	Forgetful bool

	mu   sync.Mutex
	sent []Sent // guarded by mu
}

// Sent is a request as an upstream would get it.
type Sent struct {
	Upstream string
	Targets  []string // one of these
	Down     bool     // health checks took all of them out
	Method   string
	URI      string // path and query
	Host     string
	Header   http.Header
}

// RoundTrip implements http.RoundTripper.
func (d *Dry) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close() // a RoundTripper always closes it
	}
	ex := exchange.From(req.Context())
	sent := Sent{
		Upstream: ex.Route.Upstream,
		Method:   req.Method, URI: req.URL.RequestURI(), Host: req.Host, Header: req.Header.Clone(),
	}
	sent.Targets, sent.Down = d.Targets(ex.Route.Upstream, ex.View.Client)
	if sent.Header.Get("User-Agent") == "" { // so net/http knows that there is none
		sent.Header.Del("User-Agent")
	}
	if len(sent.Targets) == 0 {
		return nil, ErrNoTarget
	}
	if !d.Forgetful {
		d.mu.Lock()
		d.sent = append(d.sent, sent)
		d.mu.Unlock()
	}
	ex.Facts.Target, ex.Facts.UpstreamCode = strings.Join(sent.Targets, " or "), d.Status
	header := d.Header.Clone()
	if header.Get("Date") == "" {
		header.Set("Date", d.Now().UTC().Format(http.TimeFormat))
	}
	resp := &http.Response{
		StatusCode: d.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: http.NoBody, ContentLength: 0, Request: req,
	}
	rewriteResponse(resp)
	return resp, nil
}

// Sent returns what would have been sent.
func (d *Dry) Sent() []Sent {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.sent)
}

// Candidates returns the targets of an upstream from which a request would get one now, and whether health checks took
// all of them out.
func (p *Pools) Candidates(upstream string, client netip.Addr) (hosts []string, down bool) {
	pool := p.find(upstream)
	if pool == nil {
		return nil, false
	}
	from := pool.candidates(nil, nil)
	switch pool.def.Balance {
	case "round_robin":
		from = []*target{from[pool.turn.Load()%uint64(len(from))]}
	case "hash":
		from = []*target{byHash(from, client)}
	}
	down = true
	for _, t := range from {
		hosts, down = append(hosts, t.url.Host), down && t.out.Load()
	}
	return hosts, down
}
