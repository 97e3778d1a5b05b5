package ratelimit_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

// limitKey is a key as the middleware builds them.
func limitKey(i int) string { return "anonymous|12:10." + strconv.Itoa(1_000_000+i) }

// keySequence is n keys in the order of which, adjacent in memory: a key comes with its request, so
// it is cached when its bucket is looked up.
func keySequence(n int, which func() int) []string {
	all, ends := []byte(nil), make([]int, 0, n)
	for range n {
		all = append(all, limitKey(which())...)
		ends = append(ends, len(all))
	}
	text, from := string(all), 0
	keys := make([]string, n)
	for i, end := range ends {
		keys[i], from = text[from:end], end
	}
	return keys
}

// BenchmarkLimits measures a request's cost for a local limit, in full tables of a thousand to a
// million keys. uniform looks up all keys alike, the worst case for caches; zipf is like real
// clients, of which few make most requests; hot repeats the same thousand keys.
func BenchmarkLimits(b *testing.B) {
	for _, size := range []int{1_000, 100_000, 1_000_000} {
		random := rand.New(rand.NewPCG(1, 2))
		zipf := rand.NewZipf(random, 1.1, 1, uint64(size-1))
		place := random.Perm(size) // the most active clients are not the first ones
		patterns := []struct {
			name  string
			which func() int
		}{
			{"uniform", func() int { return random.IntN(size) }},
			{"zipf", func() int { return place[zipf.Uint64()] }},
			{"hot", func() int { return place[random.IntN(min(size, 1000))] }},
		}
		local := ratelimit.NewTable(size * 5 / 4) // no shard is full
		limiter := ratelimit.New(ratelimit.Config{Local: local, Replicas: func() int { return 1 }, Now: time.Now})
		for i := range size {
			_, mu := local.Lock(limitKey(i), 0)
			mu.Unlock()
		}
		for _, p := range patterns {
			b.Run(p.name+"/keys="+strconv.Itoa(size), func(b *testing.B) {
				benchmarkTake(b, limiter, keySequence(1<<21, p.which))
			})
		}
	}
}

func benchmarkTake(b *testing.B, limiter *ratelimit.Limiter, keys []string) {
	charges := []ratelimit.Charge{{Quota: gcra.Quota{Rate: 1000, Period: time.Second, Burst: 1000}, Cost: 1}}
	results := make([]gcra.Result, 0, 1)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		charges[0].Key = keys[i&(len(keys)-1)]
		i++
		if _, err := limiter.Take(context.Background(), charges, results[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
