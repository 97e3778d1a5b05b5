package redisdb_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/redisdb"
	"github.com/jewgo/gateway/internal/storetest"
	"github.com/jewgo/gateway/internal/testenv"
	"github.com/jewgo/gateway/middleware/cache"
)

func cacheClient(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := redisdb.Open(redisdb.Config{URL: url, Budget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestCache(t *testing.T) {
	server := testenv.Redis(t)
	storetest.Cache(t, func(t *testing.T, now func() time.Time) cache.Store {
		client := cacheClient(t, server.URL)
		if err := client.FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		return redisdb.NewCache(client, now)
	})
}

func TestCacheRoundTrips(t *testing.T) {
	ctx := context.Background()
	server := testenv.Redis(t)
	client := cacheClient(t, server.URL)
	trips := &roundTrips{}
	client.AddHook(trips)
	e := &cache.Entry{
		Status: 200, Header: http.Header{}, Received: time.Now(), Keep: time.Hour,
		Vary: []string{"Cookie"}, Selecting: []string{"a=b"},
	}
	fields := http.Header{"Cookie": {"a=b"}}
	writer, reader := redisdb.NewCache(client, time.Now), redisdb.NewCache(client, time.Now)
	for _, key := range []string{"warm-up", "k", "k2"} {
		if err := writer.Put(ctx, key, e); err != nil {
			t.Fatal(err)
		}
	}
	get := func(s *redisdb.Cache, key string) (found bool, n int) {
		t.Helper()
		trips.since()
		f, err := s.Get(ctx, key, fields)
		if err != nil {
			t.Fatal(err)
		}
		return f.Entry != nil, len(trips.since())
	}
	trips.since()
	if err := writer.Put(ctx, "k", e); err != nil {
		t.Fatal(err)
	}
	if sent := trips.since(); len(sent) != 1 {
		t.Errorf("a put sent %q, want one round trip", sent)
	}
	if found, n := get(reader, "k"); !found || n > 2 {
		t.Errorf("the first look-up of a fresh gateway: found %v in %d round trips; want at most 2", found, n)
	}
	if found, n := get(reader, "k"); !found || n != 1 {
		t.Errorf("a known key: found %v in %d round trips; want 1", found, n)
	}
	if found, n := get(reader, "k2"); !found || n != 1 {
		t.Errorf("an unknown key with the fields seen last: found %v in %d round trips; want 1", found, n)
	}
	if found, n := get(reader, "absent"); found || n != 1 {
		t.Errorf("a miss: found %v in %d round trips; want 1", found, n)
	}
}

func TestCacheKeysLiveForATime(t *testing.T) {
	ctx := context.Background()
	server := testenv.Redis(t)
	client := cacheClient(t, server.URL)
	s := redisdb.NewCache(client, time.Now)
	long := &cache.Entry{Status: 200, Header: http.Header{}, Received: time.Now(), Keep: 2 * time.Hour}
	short := &cache.Entry{Status: 200, Header: http.Header{}, Received: time.Now(), Keep: time.Hour, Vary: []string{"X"}, Selecting: []string{"1"}}
	for _, e := range []*cache.Entry{long, short} {
		if err := s.Put(ctx, "k", e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := redisdb.NewCacheTags(client).Change(ctx, []cache.Change{{Slot: 1, Add: 1}}); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil || len(keys) != 4 {
		t.Fatalf("keys %q, error %v; want an index, two variants, the table of tags", keys, err)
	}
	for _, key := range keys {
		ttl, err := client.TTL(ctx, key).Result()
		if err != nil || ttl <= 0 {
			t.Errorf("key %s lives %v, error %v; every key must end", key, ttl, err)
		}
		if strings.HasSuffix(key, ":i") && ttl < 90*time.Minute {
			t.Errorf("the index lives %v, less than the variant of 2 h that it leads to", ttl)
		}
		if key == "gw:{tags}" && ttl <= cache.MaxKeep {
			t.Errorf("the table of tags lives %v, an entry up to %v: it could outlive its purge", ttl, cache.MaxKeep)
		}
	}
}

func TestCacheTakesGarbageForAMiss(t *testing.T) {
	ctx := context.Background()
	server := testenv.Redis(t)
	client := cacheClient(t, server.URL)
	s := redisdb.NewCache(client, time.Now)
	if err := s.Put(ctx, "k", &cache.Entry{Status: 200, Header: http.Header{}, Received: time.Now(), Keep: time.Hour}); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(ctx, "*:v:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys %q, error %v", keys, err)
	}
	if err := client.Set(ctx, keys[0], "\x63garbage", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Get(ctx, "k", http.Header{}); err != nil || f.Entry != nil {
		t.Errorf("garbage gives %+v, %v; want a miss", f.Entry, err)
	}
}

func TestCacheTags(t *testing.T) {
	ctx := context.Background()
	server := testenv.Redis(t)
	tags := redisdb.NewCacheTags(cacheClient(t, server.URL))
	for _, step := range []struct {
		says   string
		change cache.Change
		want   uint64
	}{
		{"a purge of a slot never purged is its first generation", cache.Change{Slot: 7, Add: 1}, 1},
		{"a second purge is the second", cache.Change{Slot: 7, Floor: 1, Add: 1}, 2},
		{"a gateway that knows less still adds one", cache.Change{Slot: 7, Floor: 0, Add: 1}, 3},
		{"a gateway that knows more, after a loss, counts on from there", cache.Change{Slot: 7, Floor: 10, Add: 1}, 11},
		{"a maximum is written back", cache.Change{Slot: 7, Floor: 20}, 20},
		{"a smaller maximum lowers nothing", cache.Change{Slot: 7, Floor: 5}, 20},
		{"the last slot works like any other", cache.Change{Slot: 65535, Floor: 1 << 40, Add: 1}, 1<<40 + 1},
	} {
		marks, err := tags.Change(ctx, []cache.Change{step.change})
		if err != nil || !slices.Equal(marks, []cache.Mark{{Slot: step.change.Slot, Gen: step.want}}) {
			t.Errorf("%s: %v, %v; want %d", step.says, marks, err, step.want)
		}
	}
	marks, err := tags.Load(ctx)
	slices.SortFunc(marks, func(a, b cache.Mark) int { return int(a.Slot) - int(b.Slot) })
	if want := []cache.Mark{{Slot: 7, Gen: 20}, {Slot: 65535, Gen: 1<<40 + 1}}; err != nil || !slices.Equal(marks, want) {
		t.Errorf("Load = %v, %v; want %v", marks, err, want)
	}
}

func TestCacheTagsWatch(t *testing.T) {
	server := testenv.Redis(t)
	tags := redisdb.NewCacheTags(cacheClient(t, server.URL))
	ctx, cancel := context.WithCancel(context.Background())
	connected, changed := make(chan struct{}, 10), make(chan cache.Mark, 10)
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			_ = tags.Watch(ctx, func() { connected <- struct{}{} }, func(m cache.Mark) { changed <- m })
			time.Sleep(10 * time.Millisecond)
		}
	})
	expect := func(slot uint16) {
		t.Helper()
		select {
		case <-connected:
		case <-time.After(20 * time.Second):
			t.Fatal("the watch did not connect")
		}
		if _, err := tags.Change(context.Background(), []cache.Change{{Slot: slot, Add: 1}, {Slot: slot + 1, Add: 2}}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []cache.Mark{{Slot: slot, Gen: 1}, {Slot: slot + 1, Gen: 2}} {
			select {
			case got := <-changed:
				if got != want {
					t.Errorf("watched %v, want %v", got, want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("a change was not told")
			}
		}
	}
	expect(10)
	server.Restart(true)
	expect(20) // the watch is back by itself, and says so
	cancel()
	watch.Wait() // and ends with its context
}
