package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/drill"
)

// drillSite is where the gateways of a drill are opened.
type drillSite struct {
	ctx      context.Context // of the drill
	snapshot *policy.Snapshot
	redis    string // URL, through the proxy
	dir      string
	seed     uint64
	first    *drilled // that the traffic goes through; nil until it is open
}

// drilled is a gateway of a drill.
type drilled struct {
	g       *gateway
	servers *servers
	site    *drillSite
	number  int
}

// open starts a gateway that is kept apart from one that serves the same policy.
// Those of one drill share their keys and, through Redis alone, all else.
func (s *drillSite) open(number int) (*drilled, error) {
	snapshot, policy := *s.snapshot, *s.snapshot.Policy
	p := &policy
	p.Redis.URL, p.Cache.RedisURL = s.redis, ""
	p.Server.Listen, p.Server.Admin, p.Server.Peers = "127.0.0.1:0", "", ""
	p.Server.Hosts = nil
	p.Server.DataDir = filepath.Join(s.dir, fmt.Sprint("gateway-", number))
	p.Session.KeysFile = filepath.Join(s.dir, "session.keys")
	p.Session.Identity.KeysFile = filepath.Join(s.dir, "identity.keys")
	p.Log.Access = "off"
	snapshot.Policy = p
	service := &service{stdout: io.Discard, stderr: io.Discard}
	g, err := newGateway(s.ctx, &snapshot, service, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	servers, err := g.open(p)
	if err != nil {
		g.close()
		return nil, err
	}
	return &drilled{g, servers, s, number}, nil
}

func (d *drilled) close() {
	d.servers.close()
	d.g.close()
}

func (d *drilled) status() failover.Status { return d.g.stores.redis.health.Status() }

// traffic is JewGo's, with a user where the backend knows the demo's.
func (d *drilled) traffic() *drill.Mix {
	base := shownURL(d.servers.dataListener)
	return drill.NewMix(base, login(d.site.ctx, base), d.site.seed+uint64(d.number))
}

// moreGateways is how many come to the first where several are drilled.
const moreGateways = 2

// permit is what the drill may do with its own Redis; nil: it has none.
func (s *drillSite) permit(own *ownRedis) *drill.Own {
	if own == nil {
		return nil
	}
	return &drill.Own{
		Empty: own.empty, Save: own.save, Kill: own.kill, Restart: own.start, Others: s.others,
		Evicted: (&drillEviction{site: s, redis: own}).scenario(), Full: (&drillFilling{site: s, redis: own}).scenario(),
	}
}

// others starts further gateways.
func (s *drillSite) others() (others []drill.Gateway, end func(), err error) {
	var all []*drilled
	end = func() {
		for _, d := range all {
			d.close()
		}
	}
	for range moreGateways {
		d, err := s.open(1 + len(all))
		if err != nil {
			end()
			return nil, nil, err
		}
		all = append(all, d)
		others = append(others, drill.Gateway{Target: d.traffic().Target, Status: d.status})
	}
	return others, end, nil
}

// login returns the Cookie field of the demo's user, or "" where he is unknown.
func login(ctx context.Context, base string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/v5/auth/login", strings.NewReader(`{"email":"demo@example.org","password":"demo"}`))
	if err != nil {
		return ""
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return ""
	}
	_ = res.Body.Close() // the head is all that matters
	var cookies []string
	for _, c := range res.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	return strings.Join(cookies, "; ")
}
