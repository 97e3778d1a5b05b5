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

// Limits keeps rate-limit buckets in Redis, in redis_rate's format: the key is "rate:" and the
// charge's key, and it expires when the bucket is full. All times are by Redis's clock, so the
// gateways' clocks need not agree. A TAT further ahead than an empty bucket's, as after a clock was
// set back, counts as an empty bucket's.
//
// With a single server or Sentinels, one script decides all charges of a call: all are made or
// none, and no other gateway sees a state in between.
//
// In a cluster, the keys of one call are in different slots. Each charge is decided by itself, all
// at the same time. If one is refused, those that were made are refunded a round trip later. Until
// then they count, so other requests may be refused although the tokens come back. A limit never
// admits more than it says. A lost refund makes it stricter until the tokens come back by
// themselves.
type Limits struct {
	client  redis.UniversalClient
	cluster bool
	limiter *redis_rate.Limiter
}

var _ ratelimit.Remote = (*Limits)(nil)

// NewLimits returns the limits kept by client's server. The caller closes client.
func NewLimits(client redis.UniversalClient) *Limits {
	_, cluster := client.(*redis.ClusterClient)
	return &Limits{client: client, cluster: cluster, limiter: redis_rate.NewLimiter(client)}
}

// Take implements ratelimit.Store, in one round trip. It makes a second one if a TAT is too far
// ahead, and in a cluster if one of several charges is refused. redis_rate itself makes a single
// charge. Result.Remaining includes the tokens of Result.Extra, since the client still has them;
// ResetAfter includes them too.
func (l *Limits) Take(ctx context.Context, charges []ratelimit.Charge, results []gcra.Result) ([]gcra.Result, error) {
	if len(charges) == 0 {
		return results, nil
	}
	if c := charges[0]; len(charges) == 1 && c.Extra == 0 && !c.Shadow {
		r, err := l.takeOne(ctx, c)
		if err != nil {
			return results, fmt.Errorf("charge a limit in redis: %w", err) // without the key, which identifies a client
		}
		if r.ResetAfter <= c.Quota.Whole()+c.Quota.Interval() {
			return append(results, r), nil
		}
		// That TAT comes from another clock or limit: redis_rate would refuse until it has passed.
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

// takeItems returns the items for takeScript.
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

// taken decodes takeScript's reply for one charge; m is nil if the reply is unknown.
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

// refundMade refunds the charges that a cluster made one by one when the request is refused, or
// when the outcome of another charge is unknown.
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
		_, _ = l.run(ctx, refundScript, items) // a lost refund comes back with time
	}
}

// takeOne makes one charge with redis_rate.
func (l *Limits) takeOne(ctx context.Context, c ratelimit.Charge) (gcra.Result, error) {
	limit := redis_rate.Limit{Rate: c.Quota.Rate, Period: c.Quota.Period, Burst: c.Quota.Burst}
	r, err := l.limiter.AllowN(ctx, bucketName(c.Key), limit, c.Cost)
	if err != nil {
		return gcra.Result{}, err
	}
	return resultOf(c.Quota, r), nil
}

// clockError is the possible error of redis_rate's floating-point seconds: the server's clock
// counts microseconds.
const clockError = time.Microsecond

// resultOf converts a result of redis_rate. A charge was made if RetryAfter is negative; Allowed
// says nothing if the cost is 0. Remaining is computed again, because redis_rate truncates it from
// a float that may be slightly below the integer, and sets it to 0 in a refusal.
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

// Peek returns Remaining and ResetAfter of a key's bucket without charging it. An unknown bucket is
// full, the same as one never used.
func (l *Limits) Peek(ctx context.Context, key string, q gcra.Quota) (r gcra.Result, known bool, err error) {
	made, err := l.run(ctx, takeScript, takeItems([]ratelimit.Charge{{Key: key, Quota: q}}))
	if err != nil {
		return gcra.Result{}, false, fmt.Errorf("peek at a limit in redis: %w", err)
	}
	r = taken(made[0])
	return r, r.ResetAfter > 0, nil
}

// Reset fills the buckets of keys. If it returns an error, some may not be full.
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
