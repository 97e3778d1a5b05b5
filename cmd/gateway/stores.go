package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/memory"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/redisdb"
	"github.com/jewgo/gateway/internal/redisurl"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
)

// startWait is how long a start waits for Redis at most. A gateway whose Redis
// is away must come up all the same.
const startWait = 500 * time.Millisecond

// remote is one Redis with the one Switch that decides about it. A nil remote is
// a Redis that is not configured.
type remote struct {
	name   string
	client redisdb.Client
	health *failover.Switch
}

// openRemote connects nothing yet. A URL that stands for no Redis gives none.
func openRemote(name, url string, budget time.Duration, numbers *metrics.Metrics, log *slog.Logger) (*remote, error) {
	if redisurl.None(url) {
		return nil, nil
	}
	client, err := redisdb.Open(redisdb.Config{URL: url, Budget: budget})
	if err != nil {
		return nil, err
	}
	r := &remote{name: name, client: client}
	r.health = failover.New(failover.Config{
		Probe:    redisdb.Probe(client),
		Classify: redisdb.Classify,
		Budget:   budget,
		OnChange: func(c failover.Change) {
			numbers.RedisChanged(name, c.To)
			switch c.To {
			case failover.Down:
				log.Warn("redis is away, serving from local memory", "redis", name, "reason", fmt.Sprint(c.Reason))
			case failover.Up:
				log.Info("redis is in use", "redis", name)
			case failover.Rejoining:
			}
		},
	})
	numbers.Redis(name, r.health)
	return r, nil
}

// state is the Redis's Switch, nil without one.
func (r *remote) state() *failover.Switch {
	if r == nil {
		return nil
	}
	return r.health
}

func (r *remote) condition() admin.Condition {
	if r == nil {
		return admin.Condition{Name: "redis", Detail: "not configured, local memory serves"}
	}
	s := r.health.Status()
	c := admin.Condition{Name: r.name, Detail: fmt.Sprintf("%s since %s", s.State, s.Since.UTC().Format(time.RFC3339))}
	if s.State != failover.Up {
		c.Level = admin.Degraded
		c.Detail += ", local memory serves"
		if s.Reason != nil {
			c.Detail += ": " + s.Reason.Error()
		}
	}
	return c
}

// stores holds what the gateway remembers, here and in Redis.
type stores struct {
	redis      *remote // nil: none
	cacheRedis *remote // the cache's: redis, or one of its own; nil: none

	limits   *memory.Limits
	sessions session.Store
	cache    *cache.Tiers
	tags     *cache.Tags
}

func openStores(p *policy.Policy, numbers *metrics.Metrics, log *slog.Logger) (*stores, error) {
	s := &stores{limits: memory.NewLimits(limitBuckets, time.Now)}
	numbers.Gauge("gateway_limit_buckets", "Rate-limit buckets in local memory.", func() float64 { return float64(s.limits.Len()) })
	numbers.Counter("gateway_limit_evictions_total", "Local buckets dropped before they were full again.", func() float64 { return float64(s.limits.Evicted()) })
	var err error
	budget := p.Redis.Budget.Std()
	if s.redis, err = openRemote("redis", p.Redis.URL, budget, numbers, log); err != nil {
		return nil, fmt.Errorf("redis.url: %w", err)
	}
	s.cacheRedis = s.redis
	if p.Cache.RedisURL != "" {
		if s.cacheRedis, err = openRemote("cache redis", p.Cache.RedisURL, budget, numbers, log); err != nil {
			s.close()
			return nil, fmt.Errorf("cache.redis_url: %w", err)
		}
	}
	s.openSessions()
	s.openCache(int64(p.Cache.Memory), numbers)
	return s, nil
}

func (s *stores) openSessions() {
	local := memory.NewSessions(memory.SessionsConfig{Now: time.Now})
	if s.redis == nil {
		s.sessions = local
		return
	}
	both := session.NewFailover(session.FailoverConfig{Switch: s.redis.health, Remote: redisdb.NewSessions(s.redis.client, time.Now), Local: local})
	s.redis.health.OnRejoin("sessions", both.Rejoin)
	s.sessions = both
}

func (s *stores) openCache(size int64, numbers *metrics.Metrics) {
	local := memory.NewCache(size, time.Now)
	numbers.Gauge("gateway_cache_memory_bytes", "Estimate of what stored responses take in local memory.", func() float64 { return float64(local.Bytes()) })
	s.cache = &cache.Tiers{Local: local, Now: time.Now}
	if r := s.cacheRedis; r == nil {
		s.tags = cache.NewTags(cache.TagsConfig{})
	} else {
		s.tags = cache.NewTags(cache.TagsConfig{Counters: redisdb.NewCacheTags(r.client), Switch: r.health})
		s.cache.Shared, s.cache.Switch = redisdb.NewCache(r.client, time.Now), r.health
	}
	s.cache.Tags = s.tags
}

// remoteLimits is nil without Redis.
func (s *stores) remoteLimits() ratelimit.Store {
	if s.redis == nil {
		return nil
	}
	return redisdb.NewLimits(s.redis.client)
}

// remotes lists each Redis once.
func (s *stores) remotes() []*remote {
	var all []*remote
	for _, r := range []*remote{s.redis, s.cacheRedis} {
		if r != nil && (len(all) == 0 || all[0] != r) {
			all = append(all, r)
		}
	}
	return all
}

// run watches every Redis until ctx is done.
func (s *stores) run(ctx context.Context, wg *sync.WaitGroup) {
	for _, r := range s.remotes() {
		wg.Go(func() { r.health.Run(ctx) })
	}
	wg.Go(func() { s.tags.Run(ctx) })
}

// await gives every Redis the time of one probe, and says once which are away.
func (s *stores) await(log *slog.Logger) {
	limit := time.NewTimer(startWait)
	defer limit.Stop()
	for _, r := range s.remotes() {
		select {
		case <-r.health.Probed():
		case <-limit.C:
			limit.Reset(0)
		}
		if status := r.health.Status(); status.State != failover.Up {
			log.Warn("redis is away, serving from local memory", "redis", r.name, "reason", fmt.Sprint(status.Reason))
		}
	}
}

func (s *stores) conditions() []admin.Condition {
	conditions := []admin.Condition{s.redis.condition()}
	if s.cacheRedis != s.redis && s.cacheRedis != nil {
		conditions = append(conditions, s.cacheRedis.condition())
	}
	return conditions
}

// close lets go of every Redis.
func (s *stores) close() {
	for _, r := range s.remotes() {
		_ = r.client.Close() // nothing is left to lose
	}
}
