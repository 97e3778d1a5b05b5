package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/peers"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
)

// adminError is an error of the admin API in the words of a feature.
type adminError struct {
	error
	as error
}

// Is implements the interface of errors.Is.
func (e adminError) Is(target error) bool { return target == e.as }

// hottest is how many keys /v1/limits shows.
const hottest = 20

// limitsAdmin implements the admin API's limits.
type limitsAdmin struct {
	*limits
	live *policy.Live
	roll *peers.Roll
}

// limitsView is /v1/limits.
type limitsView struct {
	Limits   []limitView     `json:"limits"`
	Replicas int             `json:"replicas"` // gateways thought to share them
	Buckets  int             `json:"buckets"`  // in local memory
	Evicted  int64           `json:"evicted"`  // of them, evicted before they were full again
	Hottest  []ratelimit.Hot `json:"hottest"`
}

type limitView struct {
	Name     string      `json:"name"`
	Key      []string    `json:"key"`
	Rate     policy.Rate `json:"rate,omitzero"`
	Burst    int         `json:"burst,omitempty"`
	InFlight int         `json:"in_flight,omitempty"`
	Shadow   bool        `json:"shadow,omitempty"`
}

// List implements admin.Limits.
func (a *limitsAdmin) List() any {
	p := a.live.Load().Policy
	v := limitsView{
		Limits: []limitView{}, Replicas: a.roll.Replicas(),
		Buckets: a.local.Len(), Evicted: a.local.Evicted(), Hottest: a.top.List(hottest, time.Now()),
	}
	for _, name := range slices.Sorted(maps.Keys(p.Limits)) {
		d := p.Limits[name]
		v.Limits = append(v.Limits, limitView{name, d.Key, d.Rate, d.Burst, d.InFlight, d.Shadow})
	}
	return v
}

// bucketView is a bucket; times are in seconds.
type bucketView struct {
	Limit string      `json:"limit"`
	Tier  string      `json:"tier,omitempty"`
	Key   string      `json:"bucket"`
	Redis *sharedView `json:"redis,omitempty"` // absent: no Redis, unavailable, or the bucket's quota is unknown here
	Here  *hereView   `json:"here,omitempty"`  // absent: not in this gateway's memory
	// Tiers are the buckets of the same key for those in a tier.
	Tiers []bucketView `json:"tiers,omitempty"`
}

type sharedView struct {
	Remaining int     `json:"remaining"`
	Whole     float64 `json:"whole_in"`
}

type hereView struct {
	Own       float64 `json:"own"`        // until what was admitted here is refilled
	Seen      float64 `json:"seen"`       // until what Redis last reported is refilled
	Owed      float64 `json:"owed"`       // of requests admitted without Redis that it does not know of yet
	Refused   float64 `json:"refused"`    // until Redis is asked again
	Leased    int     `json:"leased"`     // tokens prepaid and unspent
	LeaseEnds float64 `json:"lease_ends"` // until the last of them expires
}

// Bucket implements admin.Limits.
func (a *limitsAdmin) Bucket(ctx context.Context, name string, parts []string) (any, error) {
	buckets, err := a.find(name, parts)
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, failover.BudgetKey{}, &failover.Budget{}) // one for all tiers
	v := a.look(ctx, name, buckets[0])
	for _, b := range buckets[1:] {
		v.Tiers = append(v.Tiers, a.look(ctx, name, b))
	}
	return v, nil
}

func (a *limitsAdmin) look(ctx context.Context, name string, b ratelimit.BucketOf) bucketView {
	v := bucketView{Limit: name, Tier: b.Tier, Key: b.Key}
	quota := b.Quota
	if s, ok := a.State(b.Key); ok {
		quota = cmp.Or(quota, s.Quota)
		v.Here = &hereView{s.Own.Seconds(), s.Seen.Seconds(), s.Alone.Seconds(), s.Refused.Seconds(), s.Leased, s.LeaseEnds.Seconds()}
	}
	if quota != (gcra.Quota{}) {
		r, answered, _ := failover.Ask(ctx, a.health, func(ctx context.Context) (r gcra.Result, err error) {
			r, _, err = a.shared.Peek(ctx, b.Key, quota)
			return r, err
		})
		if answered {
			v.Redis = &sharedView{r.Remaining, r.ResetAfter.Seconds()}
		}
	}
	return v
}

// resetView is the outcome of a reset.
type resetView struct {
	Limit  string `json:"limit"`
	Key    string `json:"bucket"`
	Redis  bool   `json:"redis"`  // reset in Redis, so on all gateways; false: on this one only
	Within string `json:"within"` // until every connected gateway has reset it
}

// Reset implements admin.Limits. It makes the buckets of all tiers full.
func (a *limitsAdmin) Reset(ctx context.Context, name string, parts []string) (any, error) {
	buckets, err := a.find(name, parts)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, b := range buckets {
		keys = append(keys, b.Key)
		a.Forget(b.Key)
	}
	v := resetView{Limit: name, Key: keys[0], Within: time.Duration(0).String()}
	if !a.usable() {
		return v, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := a.shared.Reset(ctx, keys...); err != nil {
		return nil, fmt.Errorf("reset on this gateway only; redis did not answer: %w", err)
	}
	if err := a.resets.Tell(ctx, keys...); err != nil {
		return nil, fmt.Errorf("reset in redis and on this gateway; the other gateways were not told: %w", err)
	}
	for _, key := range keys { // what was learned meanwhile is out of date
		a.Forget(key)
	}
	v.Redis, v.Within = true, ratelimit.HearEvery.String()
	return v, nil
}

func (a *limitsAdmin) find(name string, parts []string) ([]ratelimit.BucketOf, error) {
	limit := a.live.Load().Limits[name]
	if limit == nil || limit.InFlight > 0 {
		return nil, adminError{fmt.Errorf("there is no such limit with a bucket: %q", name), admin.ErrUnknown}
	}
	buckets, err := ratelimit.BucketsOf(limit, parts)
	if err != nil {
		return nil, adminError{fmt.Errorf("%w; give ?key=, once for each part of it", err), admin.ErrBad}
	}
	return buckets, nil
}
