package main

import (
	"context"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

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
	targets  func(upstream string, client netip.Addr) (hosts []string, down bool)
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
		found, err := sessionsAdmin{Failover: e.sessions.Dry(e.remote.sessions, false)}.find(ctx, q.session)
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
		targets: func(upstream string, _ netip.Addr) (hosts []string, down bool) {
			for _, target := range s.Policy.Upstreams[upstream].Targets {
				_, host, _ := strings.Cut(target, "://")
				hosts = append(hosts, host)
			}
			return hosts, false
		},
	}
	e.live.Store(s)
	tags := cache.NewTags(cache.TagsConfig{})
	e.cache = cache.New(cache.Config{Store: &cache.Tiers{Tags: tags, Now: time.Now}, Tags: tags})
	return e, nil
}
