package ratelimit_test

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

// perSecond refills one token a second, and holds a hundred.
var perSecond = gcra.Quota{Rate: 1, Period: time.Second, Burst: 100}

// admit charges cost tokens of key, and reports whether they were available.
func admit(l *ratelimit.Table, key string, now int64, cost int) bool {
	b, mu := l.Lock(key, now)
	defer mu.Unlock()
	_, r := b.Admit(perSecond, now, cost)
	return r.Allowed
}

func kept(l *ratelimit.Table, key string) bool { return l.Peek(key, func(*gcra.Bucket) {}) }

func TestLimitsCountExactlyUnderConcurrency(t *testing.T) {
	l := ratelimit.NewTable(10_000)
	const keys, clients, tries = 3, 16, 400
	var admitted [keys]atomic.Int64
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range tries {
				k := (c + i) % keys
				if admit(l, fmt.Sprint("few", k), 1, 1) {
					admitted[k].Add(1)
				}
				admit(l, fmt.Sprint("many", c, i), 1, 1) // the table grows meanwhile
			}
		})
	}
	wg.Wait()
	for k := range admitted {
		if got := admitted[k].Load(); got != int64(perSecond.Burst) {
			t.Errorf("key %d: %d admitted at one moment, its quota holds %d", k, got, perSecond.Burst)
		}
	}
	if got := l.Len(); got != keys+clients*tries {
		t.Errorf("%d buckets, want %d", got, keys+clients*tries)
	}
}

func TestLimitsDropTheOneNearestToFull(t *testing.T) {
	l := ratelimit.NewTable(8)
	for i := range 8 {
		admit(l, fmt.Sprint("key", i), 1, 10+(i*5)%8) // 10 to 17 seconds from full, in no order
	}
	for i, want := range []string{"key0", "key5", "key2", "key7"} { // 10, 11, 12, 13
		if !kept(l, want) {
			t.Fatalf("%s was dropped before its turn", want)
		}
		admit(l, fmt.Sprint("new", i), 1, 50)
		if kept(l, want) {
			t.Errorf("%s was nearest to full, but was kept", want)
		}
		if l.Len() != 8 || l.Evicted() != int64(i+1) {
			t.Errorf("%d buckets, %d evicted; want 8 and %d", l.Len(), l.Evicted(), i+1)
		}
	}
}

func TestLimitsDropFullBucketsFirst(t *testing.T) {
	l := ratelimit.NewTable(8)
	for i := range 6 {
		admit(l, fmt.Sprint("lasting", i), 1, 100)
	}
	admit(l, "brief0", 1, 1)
	admit(l, "brief1", 1, 1)
	now := int64(3 * time.Second)
	admit(l, "new0", now, 1)
	admit(l, "new1", now, 1)
	if l.Evicted() != 0 || l.Len() != 8 || kept(l, "brief0") || kept(l, "brief1") {
		t.Errorf("%d live buckets dropped, %d kept, although two were full", l.Evicted(), l.Len())
	}
	for i := range 6 {
		if key := fmt.Sprint("lasting", i); !kept(l, key) {
			t.Errorf("%s was dropped", key)
		}
	}
}

func TestLimitsKeepTheirBoundInAFlood(t *testing.T) {
	const bound = 6400
	l := ratelimit.NewTable(bound)
	for i := range bound {
		admit(l, fmt.Sprint("brief", i), 1, 1) // full again after a second
	}
	now := int64(3 * time.Second)
	before := l.Evicted()
	for i := range bound / 2 {
		admit(l, fmt.Sprint("lasting", i), now, 100)
	}
	if got := l.Evicted() - before; got > bound/100 { // few: a shard looks at a sample
		t.Errorf("%d live buckets were dropped though full ones were there", got)
	}
	for i := range 20_000 {
		admit(l, fmt.Sprint("flood", i), now, 1)
	}
	if got := l.Len(); got > bound || got < bound*9/10 {
		t.Errorf("%d buckets after a flood, at most %d", got, bound)
	}
	if got := l.Evicted(); got < 10_000 {
		t.Errorf("dropping live buckets was counted %d times", got)
	}
	left := 0
	for i := range bound / 2 {
		if kept(l, fmt.Sprint("lasting", i)) {
			left++
		}
	}
	if left < bound/2*9/10 { // the flood is nearer to full, and drops itself
		t.Errorf("%d of %d empty buckets outlived a flood", left, bound/2)
	}
}

// TestLimitsModel compares the table with a map under random operations.
func TestLimitsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := ratelimit.NewTable(4096) // each shard has room for all keys, so nothing is dropped
		model := map[string]*gcra.Bucket{}
		key := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("k", rapid.IntRange(0, 120).Draw(t, "key")) })
		now := int64(1)
		t.Repeat(map[string]func(*rapid.T){
			"admit": func(t *rapid.T) {
				now += int64(rapid.IntRange(0, 2).Draw(t, "seconds")) * int64(time.Second)
				k, cost := key.Draw(t, "k"), rapid.IntRange(1, 60).Draw(t, "cost")
				if model[k] == nil {
					model[k] = new(gcra.Bucket)
				}
				_, want := model[k].Admit(perSecond, now, cost)
				if got := admit(l, k, now, cost); got != want.Allowed {
					t.Fatalf("%s admitted: %v, the model says %v", k, got, want.Allowed)
				}
			},
			"forget": func(t *rapid.T) {
				k := key.Draw(t, "k")
				l.Forget(k)
				delete(model, k)
			},
			"": func(t *rapid.T) { sameBuckets(t, l, model) },
		})
	})
}

func sameBuckets(t *rapid.T, l *ratelimit.Table, model map[string]*gcra.Bucket) {
	seen := 0
	l.All(func(key string, b *gcra.Bucket) {
		seen++
		if want := model[key]; want == nil || *b != *want {
			t.Fatalf("%s: %+v, the model has %+v", key, b, want)
		}
	})
	if seen != len(model) || l.Len() != len(model) || l.Evicted() != 0 {
		t.Fatalf("%d listed, %d kept, %d evicted, the model has %d", seen, l.Len(), l.Evicted(), len(model))
	}
	for key, want := range model {
		if !l.Peek(key, func(b *gcra.Bucket) {
			if *b != *want {
				t.Fatalf("%s: %+v, the model has %+v", key, b, want)
			}
		}) {
			t.Fatalf("%s is lost", key)
		}
	}
}

// TestLimitsLoseNothingElse: whatever was dropped between them, a full table still finds all
// buckets that it lists.
func TestLimitsLoseNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.IntRange(1, 60).Draw(t, "bound")
		l := ratelimit.NewTable(bound)
		costs := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 300).Draw(t, "costs")
		for i, cost := range costs {
			key := fmt.Sprint("k", i)
			admit(l, key, int64(i)*int64(time.Second), cost) // 0 is full at once
			if !kept(l, key) {
				t.Fatalf("%s was evicted on its own insertion", key)
			}
			if l.Len() > bound {
				t.Fatalf("%d buckets, at most %d", l.Len(), bound)
			}
		}
		var listed []string
		l.All(func(key string, _ *gcra.Bucket) { listed = append(listed, key) })
		if len(listed) != l.Len() {
			t.Fatalf("%d listed of %d", len(listed), l.Len())
		}
		for _, key := range listed {
			if !kept(l, key) {
				t.Fatalf("%s is listed but not found", key)
			}
		}
	})
}

func TestLimitsAllWhileOthersLock(t *testing.T) {
	l := ratelimit.NewTable(5000)
	for i := range 1000 {
		admit(l, fmt.Sprint("resident", i), 1, 50)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					admit(l, fmt.Sprint("passing", c, i%500), 1, 1)
					l.Forget(fmt.Sprint("passing", c, (i+250)%500))
				}
			}
		})
	}
	for range 50 {
		residents := 0
		l.All(func(key string, b *gcra.Bucket) {
			b.Debt(1)
			if strings.HasPrefix(key, "resident") {
				residents++
			}
		})
		if residents != 1000 {
			t.Errorf("%d of 1000 residents seen", residents)
		}
	}
	close(stop)
	wg.Wait()
}

func TestLimitsPeekCreatesNothing(t *testing.T) {
	l := ratelimit.NewTable(100)
	if kept(l, "nobody") || l.Len() != 0 {
		t.Error("looking at a key made a bucket")
	}
	l.Forget("nobody")
	admit(l, "somebody", 1, 100)
	l.Forget("somebody")
	if kept(l, "somebody") || l.Len() != 0 || l.Evicted() != 0 {
		t.Error("a forgotten bucket is there, or counts as evicted")
	}
	if !admit(l, "somebody", 1, 100) {
		t.Error("a forgotten key's bucket is not full")
	}
}

func TestLimitsAllocateNothingForAKnownKey(t *testing.T) {
	l := ratelimit.NewTable(1000)
	limiter := ratelimit.New(ratelimit.Config{Local: l, Replicas: func() int { return 1 }, Now: time.Now})
	charges := []ratelimit.Charge{{Key: "anonymous|9:192.0.2.1", Quota: perSecond, Cost: 1}}
	results := make([]gcra.Result, 0, 1)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := limiter.Take(context.Background(), charges, results); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a charge", n)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestLimitsAreSmallUntilUsed(t *testing.T) {
	before := heap()
	l := ratelimit.NewTable(1_000_000)
	if got := heap() - before; got > 1_000_000 {
		t.Errorf("an empty table takes %d bytes", got)
	}
	runtime.KeepAlive(l)
}

// slow reports whether the race detector is on.
func slow() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestLimitsHoldTheirBound checks the memory that NewTable documents, with a fifth more for the
// rest of the heap.
func TestLimitsHoldTheirBound(t *testing.T) {
	bound := 1_000_000
	if slow() {
		bound /= 10 // a key costs the same
	}
	for _, c := range []struct {
		name   string
		prefix string
		most   int // bytes a key
	}{
		{"short keys", "ip|", 160 + 16},
		{"keys of 120 bytes", strings.Repeat("k", 113), 290},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := heap()
			l := ratelimit.NewTable(bound)
			for i := range bound * 11 / 10 {
				admit(l, c.prefix+strconv.Itoa(1_000_000+i), 1, 1)
			}
			took := int(heap() - before)
			if got := l.Len(); got > bound || got < bound*95/100 {
				t.Errorf("%d keys, at most %d", got, bound)
			}
			if most := c.most * bound / 10 * 12; took > most {
				t.Errorf("%d bytes, at most %d", took, most)
			}
			t.Logf("%d keys, %d bytes each", l.Len(), took/l.Len())
		})
	}
}
