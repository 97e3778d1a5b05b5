package redisdb

import (
	"context"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

// Limits keeps rate-limit buckets in Redis, in redis_rate's format: the key
// "rate:" and the charge's, which expires when the bucket is full. The clock is
// Redis's, so those of the gateways need not agree.
type Limits struct{ limiter *redis_rate.Limiter }

var _ ratelimit.Store = (*Limits)(nil)

// NewLimits returns the limits that client's server keeps.
func NewLimits(client redis.UniversalClient) *Limits {
	return &Limits{redis_rate.NewLimiter(client)}
}

// Take makes the charges one after the other, a round trip each. On an error
// those before it have been made.
func (l *Limits) Take(ctx context.Context, charges []ratelimit.Charge) ([]gcra.Result, error) {
	results := make([]gcra.Result, 0, len(charges))
	for _, c := range charges {
		limit := redis_rate.Limit{Rate: c.Quota.Rate, Period: c.Quota.Period, Burst: c.Quota.Burst}
		r, err := l.limiter.AllowN(ctx, c.Key, limit, c.Cost)
		if err != nil {
			return nil, fmt.Errorf("charge a limit in redis: %w", err) // without the key, which names a client
		}
		result := resultOf(c.Quota, r)
		results = append(results, result)
		if !result.Allowed {
			break
		}
	}
	return results, nil
}

// clockError is how far redis_rate's floating-point seconds may be off: the
// server's clock counts microseconds.
const clockError = time.Microsecond

// resultOf reads a result of redis_rate, in which only a charge that was made
// has no RetryAfter: Allowed says nothing where the cost is 0. Its Remaining is
// cut from a floating-point number, which may be a hair under the whole one, so
// it is computed again.
func resultOf(q gcra.Quota, r *redis_rate.Result) gcra.Result {
	if r.RetryAfter >= 0 {
		return gcra.Result{RetryAfter: max(r.RetryAfter, 1), ResetAfter: r.ResetAfter}
	}
	spare := q.Interval()*time.Duration(q.Burst) - r.ResetAfter + clockError
	return gcra.Result{Allowed: true, Remaining: int(spare / q.Interval()), ResetAfter: r.ResetAfter}
}
