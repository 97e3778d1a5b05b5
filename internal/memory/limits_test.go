package memory_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/memory"
	"github.com/jewgo/gateway/internal/storetest"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

func TestLimitsConformance(t *testing.T) {
	storetest.Limits(t, func(*testing.T) ratelimit.Store { return memory.NewLimits(10_000, time.Now) })
}

func TestLimitsAreBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := memory.NewLimits(6400, func() time.Time { return now })
	take := func(key string, cost int) bool {
		q := gcra.Quota{Rate: 1, Period: time.Second, Burst: 100}
		results, err := l.Take(context.Background(), []ratelimit.Charge{{Key: key, Quota: q, Cost: cost}})
		if err != nil {
			t.Fatal(err)
		}
		return results[0].Allowed
	}
	for i := range 6400 {
		take(fmt.Sprint("brief", i), 1) // full again after a second
	}
	now = now.Add(2 * time.Second)
	before := l.Evicted()
	for i := range 3200 {
		take(fmt.Sprint("lasting", i), 100)
	}
	if got := l.Len(); got > 6400 {
		t.Errorf("%d buckets, at most 6400", got)
	}
	if got := l.Evicted() - before; got > 100 { // few: a shard looks at a sample
		t.Errorf("%d live buckets were dropped though full ones were there", got)
	}
	before = l.Evicted()
	for i := range 20_000 {
		take(fmt.Sprint("flood", i), 1)
	}
	if got := l.Len(); got > 6400 {
		t.Errorf("%d buckets after a flood, at most 6400", got)
	}
	if got := l.Evicted() - before; got < 10_000 {
		t.Errorf("dropping live buckets was counted %d times", got)
	}
}

func BenchmarkLimitsTake(b *testing.B) {
	l := memory.NewLimits(100_000, time.Now)
	charges := []ratelimit.Charge{{Key: "anonymous|9:192.0.2.1", Quota: gcra.Quota{Rate: 1000, Period: time.Second, Burst: 1000}, Cost: 1}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Take(context.Background(), charges); err != nil {
			b.Fatal(err)
		}
	}
}
