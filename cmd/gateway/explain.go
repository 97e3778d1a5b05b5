package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
)

// explainer tells what a gateway would do with a request.
type explainer struct {
	live     *policy.Live
	limits   *ratelimit.Limiter
	flights  *ratelimit.InFlight
	sessions *session.Failover
	cache    *cache.Cache
	secrets  *secrets
	targets  func(upstream string, client netip.Addr) []string
	redis    []*remote
	remote   rehearsed
	hop      string
	log      *slog.Logger
	alone    bool // no gateway runs: its stores are empty
}

// rehearsed reads what is in Redis, without using it.
type rehearsed struct {
	limits    ratelimit.Peeker
	sessions  session.Store
	responses cache.Store
}

// explainer returns the one of a running gateway.
func (g *gateway) explainer(s *secrets) *explainer {
	e := &explainer{
		live: &g.live, limits: g.limits.Limiter, flights: &g.flights, sessions: g.stores.sessions,
		cache: g.cache, secrets: s, targets: g.pools.Candidates, redis: g.stores.remotes(), hop: g.hop, log: g.log,
	}
	if r := g.stores.redis; r != nil {
		e.remote.limits, e.remote.sessions = redis.NewLimits(r.quiet), redis.NewSessions(r.quiet, time.Now)
	}
	if r := g.stores.cacheRedis; r != nil {
		e.remote.responses = redis.NewCache(r.quiet, time.Now)
	}
	return e
}

// answer answers a question in the form of a query.
func (e *explainer) answer(ctx context.Context, query url.Values) (any, error) {
	q, err := parseQuestion(query, e.live.Load(), time.Now())
	if err != nil {
		return nil, adminError{err, admin.ErrBad}
	}
	x, err := e.explain(ctx, q)
	if err != nil {
		return nil, err
	}
	return x, nil
}

// explain answers a question. An error wraps admin.ErrUnknown if the session is not known.
func (e *explainer) explain(ctx context.Context, q *question) (*explanation, error) {
	under := circumstances{at: time.Now().Add(q.ahead), down: q.down}
	if q.session != "" {
		found, err := sessionsAdmin{Failover: e.sessions}.find(ctx, q.session)
		if err != nil {
			return nil, err
		}
		under.as = &found
	}
	r, err := e.rehearse(ctx, q, under)
	if err != nil {
		return nil, err
	}
	x := e.describe(r, q)
	if r.ex.Facts.Limited { // what would the cache have done?
		under.unlimited = true
		if r, err = e.rehearse(ctx, q, under); err != nil {
			return nil, err
		}
		x.Unlimited = new(outcomeOf(r))
	}
	if len(e.redis) > 0 && !q.down && slices.ContainsFunc(e.redis, func(r *remote) bool { return r.health.Up() }) {
		under.down, under.unlimited = true, false
		if r, err = e.rehearse(ctx, q, under); err != nil {
			return nil, err
		}
		x.RedisDown = new(answerOf(r))
	}
	return x, nil
}

// redisUse is whether a Redis is used.
type redisUse struct {
	Name  string    `json:"name"`
	State string    `json:"state"`
	Since time.Time `json:"since"`
}

// newExplainer returns the explainer of a gateway that has just started with a policy, has no Redis,
// and has asked no upstream.
func newExplainer(s *policy.Snapshot) (*explainer, error) {
	keys, err := peekSecrets(s.Policy)
	if err != nil {
		return nil, err
	}
	e := &explainer{
		live: new(policy.Live), flights: new(ratelimit.InFlight), secrets: keys, hop: "edge", alone: true,
		log:      slog.New(slog.DiscardHandler),
		limits:   ratelimit.New(ratelimit.Config{Local: ratelimit.NewTable(1), Replicas: func() int { return 1 }, Now: time.Now}),
		sessions: session.NewFailover(session.FailoverConfig{Local: memory.NewSessions(memory.SessionsConfig{})}),
		targets: func(upstream string, _ netip.Addr) (hosts []string) {
			for _, target := range s.Policy.Upstreams[upstream].Targets {
				_, host, _ := strings.Cut(target, "://")
				hosts = append(hosts, host)
			}
			return hosts
		},
	}
	e.live.Store(s)
	tags := cache.NewTags(cache.TagsConfig{})
	e.cache = cache.New(cache.Config{Store: &cache.Tiers{Tags: tags, Now: time.Now}, Tags: tags})
	return e, nil
}

// maxQuestion bounds the parts of a question, in bytes.
const maxQuestion = 64 << 10

// parseQuestion reads a question: method, url, header (repeated), client, session, at, redis, status
// and response (repeated).
func parseQuestion(query url.Values, s *policy.Snapshot, now time.Time) (*question, error) {
	known := []string{"method", "url", "header", "client", "session", "at", "redis", "status", "response"}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("unknown parameter %q: there are %s", name, strings.Join(known, ", "))
		case len(values) > 1 && name != "header" && name != "response":
			return nil, fmt.Errorf("parameter %q is given twice", name)
		}
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") || len(v) > maxQuestion {
				return nil, fmt.Errorf("parameter %q has a line break, or is too long", name)
			}
		}
	}
	q := &question{method: query.Get("method"), session: query.Get("session"), client: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if !httpguts.ValidHeaderFieldName(q.method) { // both are tokens
		return nil, fmt.Errorf("method %q: want one such as GET", q.method)
	}
	if err := q.parseURL(query.Get("url"), s); err != nil {
		return nil, fmt.Errorf("url %q: %w", query.Get("url"), err)
	}
	for _, line := range query["header"] {
		name, value, err := parseField(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("header %q: %w", line, err)
		case strings.EqualFold(name, "Host"):
			q.host = value
		default:
			q.header = append(q.header, line)
		}
	}
	if text := query.Get("client"); text != "" {
		client, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("client %q: want an IP address", text)
		}
		q.client = client
	}
	if text := query.Get("at"); text != "" {
		ahead, err := parseAt(text, now)
		if err != nil {
			return nil, err
		}
		q.ahead = ahead
	}
	if text := query.Get("redis"); text != "" && text != "down" {
		return nil, fmt.Errorf("redis %q: only down can be assumed", text)
	}
	q.down = query.Has("redis") && query.Get("redis") == "down"
	return q, q.parseResponse(query)
}

// parseURL reads a path, or an http or https URL. The target stays as it is.
func (q *question) parseURL(text string, s *policy.Snapshot) error {
	target := text
	if scheme, rest, ok := strings.Cut(text, "://"); ok && !strings.HasPrefix(text, "/") {
		if scheme != "http" && scheme != "https" {
			return fmt.Errorf("the scheme %q is not served", scheme)
		}
		q.tls = new(scheme == "https")
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		if q.host, target = rest[:end], rest[end:]; q.host == "" || !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
	}
	target, _, _ = strings.Cut(target, "#") // clients keep it
	switch {
	case !strings.HasPrefix(target, "/") && target != "*":
		return fmt.Errorf("want a path such as /api/restaurants?page=1, or an http:// or https:// URL")
	case strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return fmt.Errorf("a space or control character must be escaped, as %%20")
	}
	q.target = target
	if q.host == "" {
		q.host = usualHost(&s.Policy.Server)
	}
	return nil
}

// usualHost is the Host that clients send: the first of the policy's or, where that names this machine, with the port
// of the first address.
func usualHost(p *policy.Server) string {
	host := "localhost"
	if len(p.Hosts) > 0 {
		host = p.Hosts[0]
	}
	ip, _ := netip.ParseAddr(host)
	if ip.Is6() {
		host = "[" + host + "]"
	}
	_, text, _ := net.SplitHostPort(p.Listen[0]) // of a socket, what follows is no number
	usual := map[bool]uint64{true: 443, false: 80}[p.TLS != nil]
	if port, err := strconv.ParseUint(text, 10, 16); err == nil && port != 0 && port != usual && (host == "localhost" || ip.IsLoopback()) {
		return fmt.Sprintf("%s:%d", host, port)
	}
	return host
}

func parseField(line string) (name, value string, err error) {
	name, value, ok := strings.Cut(line, ":")
	if value = strings.TrimSpace(value); !ok || !httpguts.ValidHeaderFieldName(name) {
		return "", "", fmt.Errorf("want NAME: VALUE")
	}
	return name, value, nil
}

// parseAt reads a time, or a duration from now, and returns how far ahead it is.
func parseAt(text string, now time.Time) (time.Duration, error) {
	if ahead, err := time.ParseDuration(strings.TrimPrefix(text, "+")); err == nil && ahead >= 0 {
		return ahead, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("at %q: want a duration from now such as +90s, or a time such as %s", text, now.UTC().Format(time.RFC3339))
	}
	if ahead := at.Sub(now); ahead > -time.Second {
		return max(ahead, 0), nil
	}
	return 0, fmt.Errorf("at %q: it is past, and what the stores had then is not known", text)
}

// parseResponse reads what the upstream is assumed to answer: 200 with no field that concerns a
// cache, if the question says nothing.
func (q *question) parseResponse(query url.Values) error {
	q.status, q.response = http.StatusOK, http.Header{}
	if text := query.Get("status"); text != "" {
		status, err := strconv.Atoi(text)
		if err != nil || status < 200 || status > 599 {
			return fmt.Errorf("status %q: want one from 200 to 599", text)
		}
		q.status = status
	}
	for _, line := range query["response"] {
		name, value, err := parseField(line)
		if err != nil || !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("response %q: want NAME: VALUE", line)
		}
		q.response.Add(name, value)
	}
	if q.response.Get("Content-Type") == "" {
		q.response.Set("Content-Type", "application/json")
	}
	return nil
}
