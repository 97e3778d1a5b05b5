package redis

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

//go:embed limits_refund.lua
var refundSource string

//go:embed limits_settle.lua
var settleSource string

var (
	refundScript = limitScript{redis.NewScript(refundSource), 1}
	settleScript = limitScript{redis.NewScript(settleSource), 1}
)

// settledKey marks a settlement as done, in the bucket's slot, for ten minutes. A settlement that
// is repeated later is charged again; little of it remains by then.
func settledKey(key, id string) string { return "gw:{" + limitKey(key) + "}:settled:" + id }

// Settle implements ratelimit.Remote in one round trip. After an error some may be settled already;
// repeating them does no harm. A settlement for a key that holds no bucket is dropped.
func (l *Limits) Settle(ctx context.Context, owed []ratelimit.Settlement) ([]time.Duration, error) {
	if len(owed) == 0 {
		return nil, nil
	}
	items := make([]item, len(owed))
	for i, s := range owed {
		q := s.Debt.Quota
		it := item{keys: []string{limitKey(s.Key)}}
		it.args = []any{interval(q) * float64(q.Burst), s.Debt.AtLeast.Seconds(), s.Debt.Add.Seconds()}
		if s.Debt.Add > 0 {
			it.keys = append(it.keys, settledKey(s.Key, s.ID))
		}
		items[i] = it
	}
	replies, err := l.run(ctx, settleScript, items)
	if err != nil {
		return nil, fmt.Errorf("settle limits in redis: %w", err)
	}
	whole := make([]time.Duration, len(owed))
	for i, reply := range replies {
		whole[i] = time.Duration(reply[0]) * time.Microsecond
	}
	return whole, nil
}

// Refund implements ratelimit.Store in one round trip. Tokens that came back by themselves
// meanwhile are not refunded again.
func (l *Limits) Refund(ctx context.Context, charges []ratelimit.Charge) error {
	items := make([]item, len(charges))
	for i, c := range charges {
		items[i] = refund(c.Key, c.Quota, c.Cost)
	}
	return l.refundAll(ctx, items)
}

// Return implements ratelimit.Remote in one round trip.
func (l *Limits) Return(ctx context.Context, leases []ratelimit.LeaseOf) error {
	items := make([]item, len(leases))
	for i, le := range leases {
		q := le.Lease.Quota
		items[i] = refund(le.Key, q, le.Lease.Tokens)
		// The lease's time began before the store's. Half an interval covers the difference and is
		// less than any charge.
		items[i].args[2] = max(le.Lease.Ends.Seconds()+interval(q)/2, 0)
	}
	return l.refundAll(ctx, items)
}

func (l *Limits) refundAll(ctx context.Context, items []item) error {
	if len(items) == 0 {
		return nil
	}
	if _, err := l.run(ctx, refundScript, items); err != nil {
		return fmt.Errorf("refund limits in redis: %w", err)
	}
	return nil
}

// refund returns the item for refundScript that gives back tokens.
func refund(key string, q gcra.Quota, tokens int) item {
	return item{
		keys: []string{limitKey(key)},
		args: []any{interval(q) * float64(tokens), interval(q) * float64(q.Burst), -1},
	}
}
