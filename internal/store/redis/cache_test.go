package redis_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/storetest"
)

func cacheClient(t *testing.T, url string) goredis.UniversalClient {
	t.Helper()
	client, err := redis.Open(redis.Config{URL: url, Budget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestCache(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	storetest.Cache(t, func(t *testing.T, now func() time.Time) cache.Store {
		client := cacheClient(t, server.URL)
		if err := client.FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		return redis.NewCache(client, now)
	})
}

func TestCacheRoundTrips(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := env.Redis(t)
	client := cacheClient(t, server.URL)
	trips := &roundTrips{}
	client.AddHook(trips)
	e := &cache.Entry{
		Status: 200, Header: http.Header{}, Received: time.Now(), Keep: time.Hour,
		Vary: []string{"Cookie"}, Selecting: []string{"a=b"},
	}
	fields := http.Header{"Cookie": {"a=b"}}
	writer, reader := redis.NewCache(client, time.Now), redis.NewCache(client, time.Now)
	for _, key := range []string{"warm-up", "k", "k2"} {
		if err := writer.Put(ctx, key, e); err != nil {
			t.Fatal(err)
		}
	}
	get := func(s *redis.Cache, key string) (found bool, n int) {
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
	t.Parallel()
	ctx := context.Background()
	server := env.Redis(t)
	client := cacheClient(t, server.URL)
	s := redis.NewCache(client, time.Now)
	long := &cache.Entry{Status: 200, Header: http.Header{}, Received: time.Now(), Keep: 2 * time.Hour}
	short := &cache.Entry{Status: 200, Header: http.Header{}, Received: time.Now(), Keep: time.Hour, Vary: []string{"X"}, Selecting: []string{"1"}}
	for _, e := range []*cache.Entry{long, short} {
		if err := s.Put(ctx, "k", e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := redis.NewCacheTags(client).Change(ctx, 0, []cache.Change{{Slot: 1, Add: 1}}); err != nil {
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
		if key == "gw:{epoch}" && ttl <= cache.MaxKeep {
			t.Errorf("the table of tags lives %v, an entry up to %v: it could outlive its purge", ttl, cache.MaxKeep)
		}
	}
}

func TestCacheTakesGarbageForAMiss(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := env.Redis(t)
	client := cacheClient(t, server.URL)
	s := redis.NewCache(client, time.Now)
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
	t.Parallel()
	ctx := context.Background()
	server := env.Redis(t)
	client := cacheClient(t, server.URL)
	tags := redis.NewCacheTags(client)
	begun := uint64(time.Now().UnixMicro())
	first, err := tags.Change(ctx, 0, nil)
	base := first.Base
	if err != nil || base < begun || base > uint64(time.Now().UnixMicro()) {
		t.Fatalf("a new table begins from %d, %v; want the time", base, err)
	}
	for _, step := range []struct {
		says   string
		change cache.Change
		want   uint64 // above base
	}{
		{"a purge of a slot never purged is its first generation", cache.Change{Slot: 7, Add: 1}, 1},
		{"a second purge is the second", cache.Change{Slot: 7, Floor: base + 1, Add: 1}, 2},
		{"a gateway with an older generation still adds one", cache.Change{Slot: 7, Floor: 0, Add: 1}, 3},
		{"a gateway with a newer generation adds one to that", cache.Change{Slot: 7, Floor: base + 10, Add: 1}, 11},
		{"a higher floor raises the generation", cache.Change{Slot: 7, Floor: base + 20}, 20},
		{"a lower floor changes nothing", cache.Change{Slot: 7, Floor: base + 5}, 20},
		{"a purge with an ID adds one", cache.Change{Slot: 7, Floor: base + 5, Add: 1, ID: "7:a:6"}, 21},
		{"the same ID again adds nothing", cache.Change{Slot: 7, Floor: base + 21, Above: base + 20, Add: 1, ID: "7:a:6"}, 21},
		{"the same ID again only raises to Above plus one", cache.Change{Slot: 7, Floor: base + 21, Above: base + 21, Add: 1, ID: "7:a:6"}, 22},
		{"another ID is another purge", cache.Change{Slot: 7, Floor: base + 5, Add: 1, ID: "7:b:6"}, 23},
		{"the last slot works like any other", cache.Change{Slot: 65535, Floor: base + 1<<40, Add: 1}, 1<<40 + 1},
	} {
		got, err := tags.Change(ctx, base, []cache.Change{step.change})
		if err != nil || got.Base != base || !slices.Equal(got.Marks, []cache.Mark{{Slot: step.change.Slot, Gen: base + step.want}}) {
			t.Errorf("%s: %v, %v; want %d", step.says, got, err, base+step.want)
		}
	}
	got, err := tags.Load(ctx)
	slices.SortFunc(got.Marks, func(a, b cache.Mark) int { return int(a.Slot) - int(b.Slot) })
	if want := []cache.Mark{{Slot: 7, Gen: base + 23}, {Slot: 65535, Gen: base + 1<<40 + 1}}; err != nil || got.Base != base || !slices.Equal(got.Marks, want) {
		t.Errorf("Load = %v, %v; want %v", got, err, want)
	}
	before := cache.Mark{Slot: 8, Gen: base - 3}
	for _, floor := range []uint64{base - 5, base - 3, base - 4} {
		got, err = tags.Change(ctx, base, []cache.Change{{Slot: 8, Floor: floor}})
	}
	if err != nil || got.Marks[0] != before {
		t.Errorf("of an earlier table the largest generation should be kept: %v, %v", got, err)
	}
	if got, err = tags.Load(ctx); err != nil || !slices.Contains(got.Marks, before) {
		t.Errorf("the generations of an earlier table cannot be read: %v, %v", got, err)
	}
	if got, err = tags.Change(ctx, base, []cache.Change{{Slot: 8, Add: 1}}); err != nil || got.Marks[0].Gen != base+1 {
		t.Errorf("a purge of a slot that was purged in an earlier table: %v, %v; want %d", got, err, base+1)
	}
	admin(t, server, "DEL gw:{epoch}")
	if got, err = tags.Change(ctx, 0, []cache.Change{{Slot: 7, Floor: base + 5, Add: 1, ID: "7:a:6"}}); err != nil || got.Marks[0].Gen != got.Base+1 {
		t.Errorf("a purge made in a lost table should be made again in the next: %v, %v", got, err)
	}
	if again, err := tags.Change(ctx, 0, []cache.Change{{Slot: 7, Add: 1}}); err != nil || again.Marks[0].Gen <= base+23 {
		t.Errorf("after the table was lost a generation was given twice: %v, %v; %d before", again, err, base+23)
	}
	held, err := tags.Load(ctx)
	epoch, probed := redis.Probe(client)(ctx)
	renewed, renews := redis.Renew(client)(ctx, epoch)
	if again, loads := tags.Load(ctx); errors.Join(err, probed, renews, loads) != nil || renewed.Incarnation == epoch.Incarnation || again.Base <= held.Base {
		t.Errorf("base of the table after a loss of data: %d, before: %d; %v, then %v; %v", again.Base, held.Base, epoch, renewed, errors.Join(err, probed, renews, loads))
	}
	if late, err := tags.Change(ctx, 1<<52, nil); err != nil || late.Base <= 1<<52 {
		t.Errorf("a table started by a slow clock: %v, %v", late, err)
	}
}

func TestCacheTagsWatch(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	tags := redis.NewCacheTags(cacheClient(t, server.URL))
	ctx, cancel := context.WithCancel(context.Background())
	connected, changed := make(chan struct{}, 10), make(chan cache.Table, 10)
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			_ = tags.Watch(ctx, func() { connected <- struct{}{} }, func(t cache.Table) { changed <- t })
			time.Sleep(10 * time.Millisecond)
		}
	})
	expect := func(slot uint16) {
		t.Helper()
		env.Receive(t, "the watch connects", connected)
		made, err := tags.Change(context.Background(), 0, []cache.Change{{Slot: slot, Add: 1}, {Slot: slot + 1, Add: 2}})
		if err != nil {
			t.Fatal(err)
		}
		if got := env.Receive(t, "a change is published", changed); !reflect.DeepEqual(got, made) || got.Seq == 0 {
			t.Errorf("watched %v, want %v", got, made)
		}
		if loaded, err := tags.Load(context.Background()); err != nil || loaded.Position != made.Position {
			t.Errorf("loaded %v, %v; want the position %v", loaded.Position, err, made.Position)
		}
	}
	expect(10)
	server.Restart(true)
	expect(20) // the watch reconnects by itself and reports it
	cancel()
	watch.Wait() // it ends with its context
}

// A server whose clock is behind, or that replaces one with such a clock, starts above all
// generations given before, of which it may lack the last.
func TestTableBeginsAboveTheLastByAClockThatIsBehind(t *testing.T) {
	t.Parallel()
	client := cacheClient(t, env.Redis(t).URL)
	tags, ahead := redis.NewCacheTags(client), uint64(time.Now().Add(time.Hour).UnixMicro())
	first, err := tags.Change(t.Context(), ahead, []cache.Change{{Slot: 7, Add: 1}})
	if err != nil || first.Base <= ahead+1 {
		t.Errorf("a gateway with generation %d gets a table with base %d, %v", ahead, first.Base, err)
	}
	if err := client.HSet(t.Context(), "gw:{epoch}", "run", "another").Err(); err != nil {
		t.Fatal(err)
	}
	second, err := tags.Change(t.Context(), 0, []cache.Change{{Slot: 7, Add: 1}})
	if err != nil || second.Base <= first.Marks[0].Gen {
		t.Errorf("a table with base %d replaced one that gave %d, %v", second.Base, first.Marks[0].Gen, err)
	}
	if again, err := tags.Change(t.Context(), second.Base, nil); err != nil || again.Base != second.Base {
		t.Errorf("nothing was lost, but base %d became %d, %v", second.Base, again.Base, err)
	}
}
