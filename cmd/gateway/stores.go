package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/peers"
	"github.com/jewgo/gateway/internal/redisurl"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
)

// startWait is how long a start waits for Redis at most. Without it the gateway starts
// too.
const startWait = 500 * time.Millisecond

// remote is one Redis with the one Switch that decides about it. A nil remote is
// a Redis that is not configured.
type remote struct {
	name   string
	client redis.Client
	quiet  redis.Client // for rehearsals: what it reads does not count
	health *failover.Switch

	sessions   bool // limits and sessions live there
	cache      bool // responses do
	cacheAlone bool // and nowhere else

	guard     redis.Guard  // against responses that fill it
	responses *cache.Tiers // that write there; nil: none do
	warnings  warnings
	cameUp    chan struct{} // wakes watch; capacity 1
	looking   chan struct{} // held by the one view that asks it; capacity 1
}

// openRemote does not connect yet. It returns nil for a URL that stands for no Redis.
// The rest of cfg is common to all Redis servers.
func openRemote(name, url string, cfg *policy.Redis, numbers *metrics.Metrics, log *slog.Logger) (*remote, error) {
	if redisurl.None(url) {
		return nil, nil
	}
	budget := cfg.Budget.Std()
	client, err := redis.Open(redis.Config{URL: url, Budget: budget, PoolSize: cfg.PoolSize, Observe: numbers.RedisCalls(name)})
	if err != nil {
		return nil, err
	}
	quiet, err := redis.Open(redis.Config{URL: url, Budget: max(budget, failover.RehearsalBudget), PoolSize: 2, Untouched: true})
	if err != nil {
		return nil, err
	}
	r := &remote{name: name, client: client, quiet: quiet, cameUp: make(chan struct{}, 1), looking: make(chan struct{}, 1)}
	r.health = failover.New(failover.Config{
		Probe:     redis.Probe(client),
		Renew:     redis.Renew(client),
		Barrier:   redis.Barrier(client),
		Rejoining: redis.Rejoining(client),
		Classify:  redis.Classify,
		InFlight:  redis.InFlight(client),
		Budget:    budget,
		OnChange: func(c failover.Change) {
			numbers.RedisChanged(name, c.To)
			switch c.To {
			case failover.Down:
				log.Warn("redis is unavailable, serving from local memory", "redis", name, "reason", fmt.Sprint(c.Reason))
			case failover.Up:
				log.Info("redis is in use", "redis", name)
				select {
				case r.cameUp <- struct{}{}:
				default: // it is awake already
				}
			case failover.Rejoining:
				if c.Reason != nil {
					log.Warn("redis has lost data: it gets what this gateway has", "redis", name, "reason", fmt.Sprint(c.Reason))
				}
			}
		},
	})
	numbers.Redis(name, r.numbers)
	return r, nil
}

// state is the Redis's Switch; nil without a Redis.
func (r *remote) state() *failover.Switch {
	if r == nil {
		return nil
	}
	return r.health
}

// stores holds the gateway's stores, in memory and in Redis.
type stores struct {
	redis      *remote // nil: none
	cacheRedis *remote // the cache's: redis, or one of its own; nil: none

	sessions *session.Failover
	cache    *cache.Tiers
	tags     *cache.Tags
}

func openStores(p *policy.Policy, d *durable, numbers *metrics.Metrics, log *slog.Logger) (*stores, error) {
	s := &stores{}
	var err error
	if s.redis, err = openRemote("redis", p.Redis.URL.Reveal(), &p.Redis, numbers, log); err != nil {
		return nil, fmt.Errorf("redis.url: %w", err)
	}
	s.cacheRedis = s.redis
	if p.Cache.RedisURL != "" {
		if s.cacheRedis, err = openRemote("cache redis", p.Cache.RedisURL.Reveal(), &p.Redis, numbers, log); err != nil {
			s.close()
			return nil, fmt.Errorf("cache.redis_url: %w", err)
		}
	}
	if s.redis != nil {
		s.redis.sessions = true
	}
	if s.cacheRedis != nil {
		s.cacheRedis.cache, s.cacheRedis.cacheAlone = true, p.Cache.Memory == 0
		s.cacheRedis.guard.Shared, s.cacheRedis.guard.Bound = s.cacheRedis.sessions, int64(p.Cache.RedisMemory)
	}
	s.openSessions(d, numbers)
	s.openCache(int64(p.Cache.Memory), d, numbers)
	return s, nil
}

func (s *stores) openSessions(d *durable, numbers *metrics.Metrics) {
	local := memory.NewSessions(memory.SessionsConfig{Now: time.Now, Full: func() {
		d.log.Warn("too many revocations: those that expire soonest are dropped", "limit", memory.MaxRevocations)
	}})
	numbers.Gauge("gateway_session_records", "Records of sessions in local memory.", func() float64 {
		records, _ := local.Len()
		return float64(records)
	})
	numbers.Gauge("gateway_session_revocations", "Revocations of sessions that have not ended yet.", func() float64 {
		_, revocations := local.Len()
		return float64(revocations)
	})
	cfg := session.FailoverConfig{Journal: durableSessions{d}, Local: local}
	if s.redis != nil {
		remote := redis.NewSessions(s.redis.client, time.Now)
		cfg.Switch, cfg.Remote, cfg.Search = s.redis.health, remote, remote
	}
	both := session.NewFailover(cfg)
	s.sessions = both
	d.restore(func(records []journal.Record) {
		_ = both.Restore(context.Background(), revocationsOf(records)) // memory never fails
	})
}

func (s *stores) openCache(size int64, d *durable, numbers *metrics.Metrics) {
	s.cache = &cache.Tiers{Now: time.Now}
	if size > 0 {
		local := memory.NewCache(size, time.Now)
		s.cache.Local = local
		numbers.Gauge("gateway_cache_memory_bytes", "Estimated bytes that stored responses take in local memory.", func() float64 { return float64(local.Bytes()) })
		numbers.Gauge("gateway_cache_memory_keys", "About how many keys have responses in local memory.", func() float64 { return float64(local.Len()) })
		numbers.Counter("gateway_cache_memory_evictions_total", "Keys whose responses made room in local memory for others.", func() float64 { return float64(local.Evicted()) })
	}
	if r := s.cacheRedis; r == nil {
		s.tags = cache.NewTags(cache.TagsConfig{})
	} else {
		s.tags = cache.NewTags(cache.TagsConfig{Counters: redis.NewCacheTags(r.client), Switch: r.health, Journal: durableTags{d}})
		shared := redis.NewCache(r.client, time.Now)
		s.cache.Shared, s.cache.Search, s.cache.Switch, s.cache.Room = shared, shared, r.health, r.guard.Take
		r.responses = s.cache
		numbers.Counter("gateway_cache_write_failures_total", "Responses that could not be written into Redis.", func() float64 { return float64(s.cache.Writes().Failed) })
		numbers.Gauge("gateway_cache_writes_stopped", "1 while responses are not written into Redis: it is nearly full, or a write has failed.", func() float64 {
			return float64(min(len(r.writes()), 1))
		})
	}
	s.cache.Tags = s.tags
	d.restore(func(records []journal.Record) { s.tags.Restore(purgesOf(records)) })
}

// newCache returns the cache over these stores. With a Redis, one of several gateways fills an entry.
func (s *stores) newCache(roll *peers.Roll, log *slog.Logger) *cache.Cache {
	cfg := cache.Config{Store: s.cache, Tags: s.tags, Now: time.Now, Log: log}
	if r := s.cacheRedis; r != nil {
		cfg.Fills, cfg.ID, cfg.Others = redis.NewFills(r.client), roll.ID, func() bool { return roll.Replicas() > 1 }
	}
	return cache.New(cfg)
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
		wg.Go(func() { r.watch(ctx) })
	}
	wg.Go(func() { s.tags.Run(ctx) })
}

// await waits for the first probe of every Redis, and logs once which are unavailable.
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
			log.Warn("redis is unavailable, serving from local memory", "redis", r.name, "reason", fmt.Sprint(status.Reason))
		}
	}
}

func (s *stores) conditions() []admin.Condition {
	conditions := []admin.Condition{s.redis.condition()}
	if until := s.sessions.Forgotten(); !until.IsZero() {
		conditions = append(conditions, admin.Condition{Name: "sessions", Level: admin.Degraded, Detail: fmt.Sprintf(
			"more than %d revocations: some were dropped here, so sessions from before %s are not renewed",
			memory.MaxRevocations, until.UTC().Format(time.RFC3339))})
	}
	if s.cacheRedis != s.redis && s.cacheRedis != nil {
		conditions = append(conditions, s.cacheRedis.condition())
	}
	return conditions
}

// close closes every Redis client.
func (s *stores) close() {
	for _, r := range s.remotes() {
		_ = r.client.Close() // nothing is left to lose
		_ = r.quiet.Close()
	}
}
