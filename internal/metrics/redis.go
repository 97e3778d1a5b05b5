package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jewgo/gateway/internal/failover"
)

// callBuckets range from a Redis on the same machine to one that hangs, in seconds.
var callBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}

// Redis is the present state of one Redis.
type Redis struct {
	Status   failover.Status
	Pool     *Pool // nil: unknown
	Warnings int   // found by the last health check
}

// Pool is the state of connection pools.
type Pool struct {
	Hits, Misses, Waits, Timeouts, Stale uint64
	Total, Idle                          int
}

// Redis adds a Redis under a name, which separates the main one from the cache's own. read is
// called at every scrape and must not block.
func (m *Metrics) Redis(name string, read func() Redis) { m.redises.add(name, read) }

// RedisChanged counts a change of state.
func (m *Metrics) RedisChanged(name string, to failover.State) {
	m.redisMove.WithLabelValues(name, to.String()).Inc()
}

// RedisCalls returns the observer of the calls to a Redis.
func (m *Metrics) RedisCalls(name string) func(took time.Duration) {
	calls := m.redisCall.WithLabelValues(name)
	return func(took time.Duration) { calls.Observe(took.Seconds()) }
}

// The families that are read at every scrape.
var (
	redisState    = desc("gateway_redis_state", "State of a Redis: 0 down, 1 rejoining, 2 up.", "redis")
	redisSeconds  = desc("gateway_redis_state_seconds_total", "Time that a Redis was in each state.", "redis", "state")
	redisTrips    = desc("gateway_redis_trips_total", "Times that the gateway stopped using a Redis because it failed.", "redis")
	redisLosses   = desc("gateway_redis_losses_total", "Times that a Redis had lost data, or was restored from an old copy, and this gateway replayed its own.", "redis")
	redisRejoins  = desc("gateway_redis_rejoins_failed_total", "Failed attempts to use a Redis again.", "redis")
	redisProbes   = desc("gateway_redis_probe_failures_total", "Probes that failed or came too late.", "redis")
	redisFailures = desc("gateway_redis_call_failures_total", "Calls answered locally instead, by cause: rejection, timeout, fault, late, crowded.", "redis", "kind")
	redisConns    = desc("gateway_redis_pool_connections", "Open connections, idle or used.", "redis", "use")
	redisPool     = desc("gateway_redis_pool_events_total", "Calls by the connection they got: hit, miss (a new one), wait (after waiting), timeout (none); stale counts dropped ones.", "redis", "event")
	redisBacklog  = desc("gateway_redis_backlog", "What a Redis has not been told yet: requests that limits admitted without it (refilled meanwhile or not), records and revocations of sessions, purged cache tags.", "redis", "of")
	redisWarnings = desc("gateway_redis_warnings", "Warnings about the configuration or health of a working Redis; docs/redis.md lists them.", "redis")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// redises collects the families of every Redis.
type redises struct {
	mu  sync.Mutex
	all []namedRedis // guarded by mu
}

type namedRedis struct {
	name string
	read func() Redis
}

func (r *redises) add(name string, read func() Redis) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, namedRedis{name, read})
}

// Describe implements prometheus.Collector.
func (r *redises) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		redisState, redisSeconds, redisTrips, redisLosses, redisRejoins, redisProbes, redisFailures, redisConns, redisPool, redisBacklog, redisWarnings,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (r *redises) Collect(to chan<- prometheus.Metric) {
	r.mu.Lock()
	all := slices.Clip(r.all)
	r.mu.Unlock()
	for _, one := range all {
		one.read().collect(to, one.name)
	}
}

func (r Redis) collect(to chan<- prometheus.Metric, name string) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), append([]string{name}, labels...)...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{name}, labels...)...)
	}
	gauge(redisState, int(r.Status.State))
	for state, d := range r.Status.TimeIn {
		to <- prometheus.MustNewConstMetric(redisSeconds, prometheus.CounterValue, d.Seconds(), name, failover.State(state).String())
	}
	c := r.Status.Counts
	count(redisTrips, c.Trips)
	count(redisLosses, c.Losses)
	count(redisRejoins, c.FailedRejoins)
	count(redisProbes, c.ProbeErrors)
	count(redisFailures, c.Rejections, "rejection")
	count(redisFailures, c.Timeouts, "timeout")
	count(redisFailures, c.Faults, "fault")
	count(redisFailures, c.Late, "late")
	count(redisFailures, c.Crowded, "crowded")
	for _, b := range r.Status.Backlogs {
		gauge(redisBacklog, b.Items, b.Name)
	}
	gauge(redisWarnings, r.Warnings)
	if p := r.Pool; p != nil {
		gauge(redisConns, p.Idle, "idle")
		gauge(redisConns, p.Total-p.Idle, "used")
		count(redisPool, p.Hits, "hit")
		count(redisPool, p.Misses, "miss")
		count(redisPool, p.Waits, "wait")
		count(redisPool, p.Timeouts, "timeout")
		count(redisPool, p.Stale, "stale")
	}
}
