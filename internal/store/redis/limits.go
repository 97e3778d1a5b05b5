package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

//go:embed limits_take.lua
var takeSource string

var takeScript = limitScript{redis.NewScript(takeSource), 5}

// Limits keeps rate-limit buckets in Redis, in redis_rate's format: the key
// "rate:" and the charge's, which expires when the bucket is full. The clock is
// Redis's, so those of the gateways need not agree. A TAT further ahead than an
// empty bucket's, as after a clock was set back, counts as that of one.
//
// A single server and one behind Sentinels decide all charges of a call in one
// script: all are made or none, and no other gateway sees anything between.
//
// In a cluster, where the keys of one call lie in different slots, each charge is
// decided by itself, all at the same time, and those that were made are refunded
// if another was refused. Until then, a round trip later, they count: requests
// that meet them may be refused although the tokens come back. Never is more
// admitted than a limit says. A refund that is lost on the way makes the limit
// stricter until the tokens come back by themselves.
type Limits struct {
	client  redis.UniversalClient
	cluster bool
	limiter *redis_rate.Limiter
}

var _ ratelimit.Remote = (*Limits)(nil)

// NewLimits returns the limits that client's server keeps. The caller closes it.
func NewLimits(client redis.UniversalClient) *Limits {
	_, cluster := client.(*redis.ClusterClient)
	return &Limits{client: client, cluster: cluster, limiter: redis_rate.NewLimiter(client)}
}

// Take implements ratelimit.Store, in one round trip; a second one is made for a
// TAT that is too far ahead, and in a cluster for a refusal of one charge among
// several. A single charge is redis_rate's. Result.Remaining counts the tokens of
// Result.Extra too, since they are left to the client; ResetAfter includes them.
func (l *Limits) Take(ctx context.Context, charges []ratelimit.Charge, results []gcra.Result) ([]gcra.Result, error) {
	if len(charges) == 0 {
		return results, nil
	}
	if c := charges[0]; len(charges) == 1 && c.Extra == 0 && !c.Shadow {
		r, err := l.takeOne(ctx, c)
		if err != nil {
			return results, fmt.Errorf("charge a limit in redis: %w", err) // without the key, which names a client
		}
		if r.ResetAfter <= c.Quota.Whole()+c.Quota.Interval() {
			return append(results, r), nil
		}
		// That TAT is of another clock or limit: redis_rate would refuse for as
		// long as it says.
	}
	first := len(results)
	made, err := l.run(ctx, takeScript, takeItems(charges))
	for _, m := range made {
		results = append(results, taken(m))
	}
	if l.cluster {
		l.refundMade(ctx, charges, results[first:], err != nil)
	}
	if err != nil {
		return results[:first], fmt.Errorf("charge limits in redis: %w", err)
	}
	return results, nil
}

// takeItems is what takeScript needs.
func takeItems(charges []ratelimit.Charge) []item {
	items := make([]item, len(charges))
	for i, c := range charges {
		shadow := 0
		if c.Shadow {
			shadow = 1
		}
		items[i] = item{
			keys: []string{limitKey(c.Key)},
			args: []any{interval(c.Quota), c.Quota.Burst, c.Cost, c.Extra, shadow},
		}
	}
	return items
}

// taken reads what takeScript returned for one charge; nil if it is unknown.
func taken(m []int64) gcra.Result {
	if m == nil {
		return gcra.Result{}
	}
	r := gcra.Result{
		Allowed: m[0] == 1, Remaining: int(m[1]), Extra: int(m[2]),
		RetryAfter: time.Duration(m[3]) * time.Microsecond, ResetAfter: time.Duration(m[4]) * time.Microsecond,
	}
	if !r.Allowed {
		r.RetryAfter = max(r.RetryAfter, 1)
	}
	return r
}

// refundMade refunds charges that a cluster made one by one and that must not stay
// alone: the request is refused, or it is unknown what became of it.
func (l *Limits) refundMade(ctx context.Context, charges []ratelimit.Charge, results []gcra.Result, failed bool) {
	refused := failed
	for i, c := range charges {
		refused = refused || !results[i].Allowed && !c.Shadow
	}
	if !refused {
		return
	}
	var items []item
	for i, c := range charges {
		r := &results[i]
		if !r.Allowed {
			continue
		}
		tokens := c.Cost + r.Extra
		r.Remaining, r.Extra = min(r.Remaining+c.Cost, c.Quota.Burst), 0
		r.ResetAfter = max(r.ResetAfter-time.Duration(tokens)*c.Quota.Interval(), 0)
		if tokens > 0 {
			items = append(items, refund(c.Key, c.Quota, tokens))
		}
	}
	if len(items) > 0 {
		_, _ = l.run(ctx, refundScript, items) // lost, then
	}
}

// takeOne makes a charge by redis_rate.
func (l *Limits) takeOne(ctx context.Context, c ratelimit.Charge) (gcra.Result, error) {
	limit := redis_rate.Limit{Rate: c.Quota.Rate, Period: c.Quota.Period, Burst: c.Quota.Burst}
	r, err := l.limiter.AllowN(ctx, bucketName(c.Key), limit, c.Cost)
	if err != nil {
		return gcra.Result{}, err
	}
	return resultOf(c.Quota, r), nil
}

// clockError is how far redis_rate's floating-point seconds may be off: the
// server's clock counts microseconds.
const clockError = time.Microsecond

// resultOf reads a result of redis_rate, in which only a charge that was made
// has no RetryAfter: Allowed says nothing where the cost is 0. Its Remaining is
// cut from a floating-point number, which may be a hair under the whole one, and
// is 0 in a refusal, so it is computed again.
func resultOf(q gcra.Quota, r *redis_rate.Result) gcra.Result {
	spare := q.Whole() - r.ResetAfter + min(clockError, q.Interval()/10)
	result := gcra.Result{
		Allowed: r.RetryAfter < 0, Remaining: int(max(spare, 0) / q.Interval()), ResetAfter: r.ResetAfter.Round(clockError),
	}
	if !result.Allowed {
		result.RetryAfter = max(r.RetryAfter, 1)
	}
	return result
}

// Peek tells how the bucket of a key stands, without charging it: Remaining and
// ResetAfter. One that is not known is full, and as good as never used.
func (l *Limits) Peek(ctx context.Context, key string, q gcra.Quota) (r gcra.Result, known bool, err error) {
	made, err := l.run(ctx, takeScript, takeItems([]ratelimit.Charge{{Key: key, Quota: q}}))
	if err != nil {
		return gcra.Result{}, false, fmt.Errorf("look at a limit in redis: %w", err)
	}
	r = taken(made[0])
	return r, r.ResetAfter > 0, nil
}

// Reset makes the buckets of keys full. Each is emptied or an error says that
// some may not be.
func (l *Limits) Reset(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Del(ctx, limitKey(key))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("reset limits in redis: %w", err)
	}
	return nil
}
