package main

import (
	"context"
	"reflect"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/peers"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
)

// limits is the limiter with its stores.
type limits struct {
	*ratelimit.Limiter
	local  *ratelimit.Table
	health *failover.Switch // nil: no Redis, nor the next two
	shared *redis.Limits
	resets *redis.Resets
	top    ratelimit.Top
	defs   map[string]policy.LimitDef // of the policy in force; after openLimits only replaced reads and sets them
}

// openLimits wires the limiter to Redis, which may be nil.
func openLimits(p *policy.Policy, r *remote, roll *peers.Roll, numbers *metrics.Metrics) *limits {
	l := &limits{local: ratelimit.NewTable(p.RateLimit.Keys), health: r.state(), defs: p.Limits}
	cfg := ratelimit.Config{
		Local: l.local, Replicas: roll.Replicas, Now: time.Now, ID: roll.ID,
		Count: func(c ratelimit.Charge, by ratelimit.Decider, allowed bool) {
			numbers.Limit(c.Limit, by.String(), allowed, c.Shadow)
			l.top.Add(c.Limit, c.Key, allowed, time.Now())
		},
	}
	if r != nil {
		l.shared, l.resets = redis.NewLimits(r.client), redis.NewResets(r.client)
		cfg.Switch, cfg.Remote = r.health, l.shared
	}
	l.Limiter = ratelimit.New(cfg)
	numbers.Gauge("gateway_limit_buckets", "Rate-limit buckets in local memory.", func() float64 { return float64(l.local.Len()) })
	numbers.Counter("gateway_limit_evictions_total", "Local buckets dropped before they were full again.", func() float64 { return float64(l.local.Evicted()) })
	numbers.Counter("gateway_limit_replayed_tokens_total", "Tokens admitted without Redis that were charged there later.", func() float64 { return float64(l.Replayed()) })
	numbers.Gauge("gateway_limit_replicas", "Gateways that are thought to share the limits.", func() float64 { return float64(roll.Replicas()) })
	return l
}

// usable reports whether there is a Redis to ask.
func (l *limits) usable() bool { return l.health.Up() }

// replaced returns the leases of limits that the new policy does not have, or has
// changed.
func (l *limits) replaced(ctx context.Context, now *policy.Policy) error {
	changed := map[string]bool{}
	for name, d := range l.defs {
		changed[name] = d.Lease != policy.NoLease && !reflect.DeepEqual(d, now.Limits[name])
	}
	l.defs = now.Limits
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return l.ReturnLeases(ctx, func(key string) bool {
		return changed[ratelimit.LimitOf(key)]
	})
}

// close charges Redis with what was admitted locally in the last moments, and returns
// the leases.
func (l *limits) close() {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	_ = l.Settle(ctx)                                          // else it is lost, which the bound of a restart allows
	_ = l.ReturnLeases(ctx, func(string) bool { return true }) // else they expire by themselves
}
