package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/storetest"
)

// shared is one gateway's connection to Redis.
type shared struct {
	sw       *failover.Switch
	store    cache.Store
	counters cache.Counters
	background
}

// background runs a gateway's goroutines until the test ends.
type background struct {
	ctx   context.Context
	tasks *sync.WaitGroup
}

func newBackground(t *testing.T) background {
	ctx, cancel := context.WithCancel(context.Background())
	b := background{ctx, &sync.WaitGroup{}}
	t.Cleanup(func() { cancel(); b.tasks.Wait() })
	return b
}

func connect(t *testing.T, url string, now func() time.Time) *shared {
	t.Helper()
	client, err := redis.Open(redis.Config{URL: url, Budget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &shared{
		// Generous times: the machine may be busy, and none of this is about speed.
		sw: failover.New(failover.Config{
			Probe: redis.Probe(client), Renew: redis.Renew(client), Classify: redis.Classify,
			Budget: 5 * time.Second, ProbeTimeout: 5 * time.Second,
			UpInterval: 50 * time.Millisecond, DownInterval: 20 * time.Millisecond,
		}),
		store: redis.NewCache(client, now), counters: redis.NewCacheTags(client),
		background: newBackground(t),
	}
}

func (s *shared) run(t *testing.T, tags *cache.Tags) {
	t.Helper()
	s.tasks.Go(func() { s.sw.Run(s.ctx) })
	s.tasks.Go(func() { tags.Run(s.ctx) })
	s.waitFor(t, true)
}

func (s *shared) waitFor(t *testing.T, up bool) {
	t.Helper()
	env.Eventually(t, env.Patience, func() error {
		if s.sw.Up() != up {
			return fmt.Errorf("the switch did not become up=%v: %+v", up, s.sw.Status())
		}
		return nil
	})
}

// began is the start of all gateways' clocks: otherwise two could start in different seconds.
var began = time.Now().Truncate(time.Second)

// newGateway is an edge on a shared Redis.
func newGateway(t *testing.T, url string) (*edge, *shared) {
	t.Helper()
	clock := env.NewClock(began)
	s := connect(t, url, clock.Now)
	e := newEdge(t, options{
		clock: clock,
		tags:  cache.TagsConfig{Counters: s.counters, Switch: s.sw},
		tiers: func(tiers *cache.Tiers) { tiers.Shared, tiers.Switch = s.store, s.sw },
	})
	s.run(t, e.tags)
	return e, s
}

func TestTiersOfMemoryAlone(t *testing.T) {
	storetest.Cache(t, func(_ *testing.T, now func() time.Time) cache.Store {
		return &cache.Tiers{Local: memory.NewCache(16<<20, now), Tags: cache.NewTags(cache.TagsConfig{}), Now: now}
	})
}

func TestTiersWithRedis(t *testing.T) {
	server := env.Redis(t)
	n := 0
	storetest.Cache(t, func(t *testing.T, now func() time.Time) cache.Store {
		s := connect(t, server.URL, now)
		tags := cache.NewTags(cache.TagsConfig{Counters: s.counters, Switch: s.sw})
		s.run(t, tags)
		n++ // the tests share a Redis, and are kept apart by their keys
		return prefixed{&cache.Tiers{Local: memory.NewCache(16<<20, now), Shared: s.store, Switch: s.sw, Tags: tags, Now: now}, fmt.Sprint(n)}
	})
}

func TestTiersWithRedisAway(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	server.Kill()
	storetest.Cache(t, func(t *testing.T, now func() time.Time) cache.Store {
		s := connect(t, server.URL, now)
		tags := cache.NewTags(cache.TagsConfig{Counters: s.counters, Switch: s.sw})
		return &cache.Tiers{Local: memory.NewCache(16<<20, now), Shared: s.store, Switch: s.sw, Tags: tags, Now: now}
	})
}

type prefixed struct {
	cache.Store
	prefix string
}

func (p prefixed) Get(ctx context.Context, key string, fields rfc9111.Fields) (cache.Found, error) {
	return p.Store.Get(ctx, p.prefix+key, fields)
}

func (p prefixed) Put(ctx context.Context, key string, e *cache.Entry) error {
	return p.Store.Put(ctx, p.prefix+key, e)
}

func TestGatewaysShareWhatOneFilled(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	a, _ := newGateway(t, server.URL)
	b, _ := newGateway(t, server.URL)
	a.upstreamSays(says(strings.Repeat("from a ", 3000), "Vary", "X-Theme", "X-A", "1", "X-A", "2"))
	b.upstreamSays(says("from b"))
	want := a.get("/list")
	got := b.get("/list")
	b.expect("the other gateway", got, want.body, "edge; hit; ttl=300; detail=l2")
	if strings.Join(got.header["X-A"], ",") != "1,2" {
		t.Errorf("header %v", got.header)
	}
	b.expect("then from its memory", b.get("/list"), want.body, "edge; hit; ttl=300; detail=l1")
	b.expect("another theme", b.get("/list", "X-Theme", "dark"), "from b", "edge; fwd=vary-miss; fwd-status=200; stored")
}

func TestRedisKilledInBetween(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	e, s := newGateway(t, server.URL)
	e.upstreamSays(says("body"))
	e.get("/list")
	server.Kill()
	for i := range 20 {
		e.expect("a hit while Redis is dead", e.get("/list"), "body", "edge; hit; ttl=300; detail=l1")
		e.expect("a miss while Redis is dead", e.get(fmt.Sprintf("/item/%d", i)), "body", "edge; fwd=uri-miss; fwd-status=200; stored")
		e.expect("a hit in memory while Redis is dead", e.get(fmt.Sprintf("/item/%d", i)), "body", "edge; hit; ttl=60; detail=l1")
	}
	if got := e.do("PUT", "/item/1", "x"); got.status != 200 {
		t.Errorf("a write while Redis is dead: %d", got.status)
	}
	e.expect("the write purged", e.get("/list"), "body", "edge; fwd=uri-miss")
	s.waitFor(t, false)
	e.get("/item/none")
	if !e.exchange().Facts.Local {
		t.Error("Facts.Local does not say that Redis was unavailable")
	}
	server.Restart(true)
	s.waitFor(t, true)
	e.expect("memory stays", e.get("/item/9"), "body", "edge; hit; ttl=60; detail=l1")
}

// dropTable removes the table of generations and the epoch, as an eviction does.
func dropTable(t *testing.T, url string) {
	t.Helper()
	client, err := redis.Open(redis.Config{URL: url, Budget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Del(t.Context(), "gw:{epoch}").Err(); err != nil {
		t.Fatal(err)
	}
}

// Entries in Redis from before the loss of its table may have been purged since, by a gateway that
// is gone.
func TestWhatIsOlderThanTheTableIsNotTaken(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	a, sa := newGateway(t, server.URL)
	a.upstreamSays(says("from a"))
	a.get("/list")
	dropTable(t, server.URL)
	env.Until(t, "the loss is noticed", func() bool { return sa.sw.Status().Counts.Losses > 0 && sa.sw.Up() })
	a.expect("a gateway that had it in memory keeps it", a.get("/list"), "from a", "edge; hit; ttl=300; detail=l1")
	b, _ := newGateway(t, server.URL) // restarted, with nothing in memory
	b.upstreamSays(says("from b"))
	b.expect("another gateway asks again", b.get("/list"), "from b", "edge; fwd=uri-miss; fwd-status=200; stored")
	c, _ := newGateway(t, server.URL)
	c.expect("its response is shared again", c.get("/list"), "from b", "edge; hit; ttl=300; detail=l2")
}

func TestPurgeReachesTheOtherGateway(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	a, _ := newGateway(t, server.URL)
	b, _ := newGateway(t, server.URL)
	a.upstreamSays(says("old"))
	b.upstreamSays(says("old"))
	a.get("/list")
	b.expect("before", b.get("/list"), "old", "edge; hit")
	a.do("PUT", "/item/1", "x")
	b.upstreamSays(says("new"))
	env.Until(b, "the purge", func() bool { return b.get("/list").body == "new" })
	a.expect("the other gateway's entry is valid here", a.get("/list"), "new", "edge; hit; ttl=300; detail=l2")
}

func TestPurgeDuringAnOutage(t *testing.T) {
	t.Parallel()
	for _, empty := range []bool{false, true} {
		t.Run(fmt.Sprintf("Redis comes back empty: %v", empty), func(t *testing.T) {
			t.Parallel()
			server := env.Redis(t)
			a, sa := newGateway(t, server.URL)
			b, sb := newGateway(t, server.URL)
			for _, e := range []*edge{a, b} {
				e.upstreamSays(says("old"))
				e.get("/list")
				e.get("/item/7")
			}
			if err := a.tags.Purge(t.Context(), "unrelated"); err != nil {
				t.Fatal(err)
			}
			if empty {
				server.Kill()
			} else {
				server.Stop()
			}
			a.do("PUT", "/item/1", "x") // sooner or later the switches notice
			sa.waitFor(t, false)
			sb.waitFor(t, false)
			a.upstreamSays(says("new"))
			b.upstreamSays(says("new"))
			a.expect("the gateway of the write", a.get("/list"), "new", "edge; fwd=uri-miss")
			b.expect("a gateway that cannot know", b.get("/list"), "old", "edge; hit")
			if empty {
				server.Restart(true)
			} else {
				server.Cont()
			}
			sa.waitFor(t, true)
			sb.waitFor(t, true)
			env.Until(b, "the purge", func() bool { return b.get("/list").body == "new" })
			b.expect("an entry that was not purged stays", b.get("/item/7"), "old", "edge; hit")
		})
	}
}

func TestALostTableLowersNothing(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	a, sa := newGateway(t, server.URL)
	a.upstreamSays(says("body"))
	for range 3 {
		a.do("PUT", "/item/1", "x")
	}
	marks := a.tags.Marks([]string{"restaurants"})
	a.get("/list")
	time.Sleep(1500 * time.Millisecond) // more than clocks may differ by
	server.Restart(true)
	sa.waitFor(t, true)
	env.Until(a, "a new table that begins above the maxima", func() bool {
		shared, err := sa.counters.Load(t.Context())
		return err == nil && shared.Base > marks[0].Gen
	})
	a.expect("the stored entry is still valid", a.get("/list"), "body", "edge; hit")
	a.do("PUT", "/item/1", "x")
	if after := a.tags.Marks([]string{"restaurants"}); after[0].Gen <= marks[0].Gen {
		t.Errorf("generation %d after the loss and a purge, %d before", after[0].Gen, marks[0].Gen)
	}
	a.expect("a purge after the loss counts", a.get("/list"), "body", "edge; fwd=uri-miss")
}

func TestPurgesOfTheSameGenerationAreTwo(t *testing.T) {
	t.Parallel()
	// 1. A is cut off and purges: its generation goes from g to g+1.
	// 2. B purges too: the shared generation goes from g to g+1.
	// 3. B fills; the entry carries g+1.
	// 4. A rejoins. Its purge came after the fill's data may have been read, so
	//    the entry must be invalid, although A's generation is no larger.
	server := env.Redis(t)
	clock := env.NewClock(time.Now())
	sa, sb := connect(t, server.URL, clock.Now), connect(t, server.URL, clock.Now)
	a := cache.NewTags(cache.TagsConfig{Counters: sa.counters, Switch: sa.sw}) // its switch never comes up
	b := cache.NewTags(cache.TagsConfig{Counters: sb.counters, Switch: sb.sw})
	sb.run(t, b)
	ctx := t.Context()
	if err := a.Purge(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	if err := b.Purge(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	filled := b.Marks([]string{"t"})
	if err := storetest.Replay(ctx, a); err != nil {
		t.Fatal(err)
	}
	env.Until(t, "the purge of the gateway that was cut off ends a fill before its rejoin", func() bool { return !b.Valid(filled) })
	if b.Purge(ctx, "other") != nil || !b.Valid(b.Marks([]string{"t"})) {
		t.Error("marks of this moment are not valid")
	}
}

// ledger is a Journal in memory that outlives its Tags.
type ledger struct {
	mu     sync.Mutex
	purges map[string]cache.Purge // by slot and origin; guarded by mu
	err    error
}

func (l *ledger) Keep(_ context.Context, purges []cache.Purge) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.purges == nil {
		l.purges = map[string]cache.Purge{}
	}
	for _, p := range purges {
		by := fmt.Sprint(p.Slot, p.Origin)
		if had := l.purges[by]; p.Gen > had.Gen || p.Gen == had.Gen && p.Known {
			l.purges[by] = p
		}
	}
	return l.err
}

// kept is the ledger's content.
func (l *ledger) kept() []cache.Purge {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.purges))
}

// restore returns the Tags of a gateway that starts with the ledger.
func (l *ledger) restore(s *shared) *cache.Tags {
	tags := cache.NewTags(cache.TagsConfig{Counters: s.counters, Switch: s.sw, Journal: l})
	tags.Restore(l.kept())
	return tags
}

func TestAPurgeDuringAnOutageOutlivesARestart(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	clock := env.NewClock(time.Now())
	sa, sb := connect(t, server.URL, clock.Now), connect(t, server.URL, clock.Now)
	l := &ledger{}
	ctx := t.Context()
	before := l.restore(sa) // its switch never comes up
	stale := before.Marks([]string{"t"})
	if err := before.Purge(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	// Another gateway purges the tag to the same generation, and fills.
	b := cache.NewTags(cache.TagsConfig{Counters: sb.counters, Switch: sb.sw})
	sb.run(t, b)
	if err := b.Purge(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	filled := b.Marks([]string{"t"})

	restarted := l.restore(sa)
	if restarted.Valid(stale) {
		t.Error("an entry purged before the restart is valid after it")
	}
	if err := storetest.Replay(ctx, restarted); err != nil {
		t.Fatal(err)
	}
	shared, err := sb.counters.Load(ctx)
	if err != nil || len(shared.Marks) != 1 || shared.Marks[0].Gen != filled[0].Gen+1 {
		t.Errorf("the shared generation after the rejoin is %v, %v; want %d", shared, err, filled[0].Gen+1)
	}
	if err := storetest.Replay(ctx, l.restore(sa)); err != nil {
		t.Fatal(err)
	}
	if again, err := sb.counters.Load(ctx); err != nil || !slices.Equal(again.Marks, shared.Marks) {
		t.Errorf("after another restart it was purged once more: %v, before %v; %v", again, shared, err)
	}
}

func TestAPurgeThatIsNotJournaledHoldsHere(t *testing.T) {
	full := errors.New("full")
	s := connect(t, "redis://127.0.0.1:1", time.Now)
	tags := (&ledger{err: full}).restore(s)
	marks := tags.Marks([]string{"t"})
	if err := tags.Purge(t.Context(), "t"); !errors.Is(err, full) || tags.Valid(marks) {
		t.Errorf("Purge: %v; still valid: %v", err, tags.Valid(marks))
	}
}

func TestHitMakesNoCall(t *testing.T) {
	var calls countingStore
	sw := alwaysUp(t)
	e := newEdge(t, options{tiers: func(tiers *cache.Tiers) { tiers.Shared, tiers.Switch = &calls, sw }})
	e.upstreamSays(says("body"))
	e.get("/list")
	if calls.gets != 1 || calls.puts != 1 {
		t.Errorf("a miss made %d gets and %d puts; want one each", calls.gets, calls.puts)
	}
	e.expect("a fresh hit", e.get("/list"), "body", "edge; hit")
	if calls.gets != 1 || calls.puts != 1 {
		t.Errorf("after a fresh hit there were %d gets and %d puts; want no further call", calls.gets, calls.puts)
	}
}

// countingStore is a shared store that always stays empty.
type countingStore struct{ gets, puts int }

func (s *countingStore) Get(context.Context, string, rfc9111.Fields) (cache.Found, error) {
	s.gets++
	return cache.Found{}, nil
}

func (s *countingStore) Put(context.Context, string, *cache.Entry) error {
	s.puts++
	return nil
}

// alwaysUp is the Switch of a store that never fails.
func alwaysUp(t *testing.T) *failover.Switch {
	t.Helper()
	sw := failover.New(failover.Config{
		Probe: func(context.Context) (failover.Epoch, error) { return failover.Epoch{}, nil }, Classify: func(error) failover.Kind { return failover.Answer },
	})
	b := newBackground(t)
	b.tasks.Go(func() { sw.Run(b.ctx) })
	<-sw.Probed()
	return sw
}

func TestWhatIsTooLargeToWaitForStaysHere(t *testing.T) {
	shared := memory.NewCache(64<<20, time.Now)
	up := alwaysUp(t)
	tiers := &cache.Tiers{Local: memory.NewCache(64<<20, time.Now), Shared: shared, Switch: up, Tags: cache.NewTags(cache.TagsConfig{}), Now: time.Now}
	for key, size := range map[string]int{"small": 10_000, "large": 2 << 20} {
		e := &cache.Entry{Status: 200, Header: http.Header{}, Body: make([]byte, size), Received: time.Now(), Fresh: time.Hour, Keep: time.Hour}
		if err := tiers.Put(t.Context(), key, e); err != nil {
			t.Fatal(err)
		}
		if f, _ := tiers.Get(t.Context(), key, http.Header{}); f.Entry == nil {
			t.Errorf("%s is not here", key)
		}
		if f, _ := shared.Get(t.Context(), key, http.Header{}); (f.Entry != nil) != (key == "small") {
			t.Errorf("%s is shared: %v", key, f.Entry != nil)
		}
	}
}

// holder is a shared store with one entry for every key.
type holder struct{ entry cache.Entry }

func (h holder) Get(context.Context, string, rfc9111.Fields) (cache.Found, error) {
	return cache.Found{Entry: &h.entry}, nil
}

func (holder) Put(context.Context, string, *cache.Entry) error { return nil }

// The marks of an entry that was filled after a purge report the purge to other gateways.
func TestMarksOfOthersTellOfTheirPurges(t *testing.T) {
	now := time.Now()
	sw := failover.New(failover.Config{
		Probe: func(context.Context) (failover.Epoch, error) { return failover.Epoch{}, nil }, Classify: func(error) failover.Kind { return failover.Answer },
	})
	b := newBackground(t)
	b.tasks.Go(func() { sw.Run(b.ctx) })
	<-sw.Probed()
	tags := cache.NewTags(cache.TagsConfig{})
	before := tags.Marks([]string{"t"})
	newer := cache.Mark{Slot: before[0].Slot, Gen: before[0].Gen + 1}
	tiers := &cache.Tiers{
		Shared: holder{cache.Entry{Received: now, Fresh: time.Minute, Marks: []cache.Mark{newer}}},
		Switch: sw, Tags: tags, Now: func() time.Time { return now },
	}
	found, err := tiers.Get(t.Context(), "key", http.Header{})
	if err != nil || found.Entry == nil {
		t.Fatalf("found %+v, %v", found, err)
	}
	if tags.Valid(before) {
		t.Error("an entry filled before the purge is still valid here")
	}
}

// kept records how long entries are kept.
type kept struct {
	cache.LocalStore
	keep atomic.Int64
}

func (k *kept) Put(ctx context.Context, key string, e *cache.Entry) error {
	k.keep.Store(int64(e.Keep))
	return k.LocalStore.Put(ctx, key, e)
}

func TestAnEntryIsKeptForAsLongAsItIsOfUse(t *testing.T) {
	for _, tt := range []struct {
		says, cache, control string
		tag                  bool
		want                 time.Duration
	}{
		{"fresh, and an hour for an upstream that cannot be reached", "{ttl: 300s}", "", false, 300*time.Second + time.Hour},
		{"the policy's stale rules", "{ttl: 300s, stale_if_error: 3h}", "", false, 300*time.Second + 3*time.Hour},
		{"the origin's", "{mode: strict}", "max-age=60, stale-while-revalidate=7200", false, time.Minute + 2*time.Hour},
		{"never stale, nothing to validate by", "{mode: strict}", "max-age=60, must-revalidate", false, time.Minute},
		{"never stale, to be validated", "{mode: strict}", "max-age=60, must-revalidate", true, time.Minute + 2*time.Hour},
		{"never used without validation", "{mode: strict}", "no-cache, max-age=60", true, time.Minute + 2*time.Hour},
		{"two weeks at most", "{ttl: 1h, stale_if_error: 8760h}", "", false, 14 * 24 * time.Hour},
	} {
		t.Run(tt.says, func(t *testing.T) {
			k := &kept{}
			o := onePolicy(tt.cache)
			o.policy = strings.Replace(o.policy, "default_ttl: 20s", "default_ttl: 20s, keep: 2h", 1)
			o.tiers = func(tiers *cache.Tiers) { k.LocalStore = tiers.Local; tiers.Local = k }
			e := newEdge(t, o)
			header := []string{"Cache-Control", tt.control}
			if tt.tag {
				header = append(header, "ETag", `"1"`)
			}
			e.upstreamSays(says("body", header...))
			e.get("/a")
			if got := time.Duration(k.keep.Load()); got != tt.want {
				t.Errorf("kept for %v, want %v", got, tt.want)
			}
		})
	}
}

// balky is a shared store where some calls fail.
type balky struct {
	cache.Store
	get, put   error // nil: it works
	gets, puts atomic.Int64
}

func (b *balky) Get(ctx context.Context, key string, fields rfc9111.Fields) (cache.Found, error) {
	b.gets.Add(1)
	if b.get != nil {
		<-ctx.Done() // it hangs
		return cache.Found{}, b.get
	}
	return b.Store.Get(ctx, key, fields)
}

func (b *balky) Put(ctx context.Context, key string, e *cache.Entry) error {
	b.puts.Add(1)
	if b.put != nil {
		return b.put
	}
	return b.Store.Put(ctx, key, e)
}

// A store that accepts no responses still serves limits and sessions.
func TestFailedWritesPauseAndTakeNothingElseDown(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	b := &balky{put: errors.New("OOM command not allowed when used memory > 'maxmemory'")}
	e, s := newGateway(t, server.URL)
	b.Store, e.tiers.Shared = e.tiers.Shared, b
	e.upstreamSays(says("body"))
	for i := range 20 {
		e.get(fmt.Sprintf("/item/%d", i))
	}
	if n := b.puts.Load(); n != 1 {
		t.Errorf("%d writes were tried, want 1 and then a pause", n)
	}
	for i := range 8 { // each pause is longer than the one before, up to half a minute
		e.clock.Advance(31 * time.Second)
		e.get(fmt.Sprintf("/item/late%d", i))
	}
	if st := e.tiers.Writes(); b.puts.Load() != 9 || st.Failed != 9 || st.Err == nil || st.Paused.IsZero() {
		t.Errorf("%d tries, %+v", b.puts.Load(), st)
	}
	if st := s.sw.Status(); st.State != failover.Up || st.Counts.Trips != 0 || st.Counts.Faults != 0 {
		t.Errorf("the store was given up: %+v", st)
	}
	b.put = nil
	e.clock.Advance(31 * time.Second)
	for i := range 5 {
		e.get(fmt.Sprintf("/item/well%d", i))
	}
	if st := e.tiers.Writes(); b.puts.Load() != 14 || !st.Paused.IsZero() || st.Err != nil {
		t.Errorf("then %d tries, %+v", b.puts.Load(), st)
	}
}

// The time that a fill waits for a store is part of its request's budget.
func TestAMissWaitsForAStoreOnce(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	b := &balky{get: context.DeadlineExceeded}
	e, _ := newGateway(t, server.URL)
	b.Store, e.tiers.Shared = e.tiers.Shared, b
	e.upstreamSays(says("body"))
	e.expect("a miss", e.get("/list"), "body", "edge; fwd=uri-miss")
	if b.gets.Load() != 1 || b.puts.Load() != 0 {
		t.Errorf("%d reads, and %d writes after the time was over", b.gets.Load(), b.puts.Load())
	}
}

// An old purge is written back into a new table without affecting later entries, here or on other
// gateways.
func TestALostTableInvalidatesNothing(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	a, _ := newGateway(t, server.URL)
	b, _ := newGateway(t, server.URL)
	for _, e := range []*edge{a, b} {
		e.upstreamSays(says("body"))
	}
	a.do("PUT", "/item/1", "x")
	purged := a.tags.Marks([]string{"restaurants"})
	env.Until(b, "the purge", func() bool { return b.tags.Marks([]string{"restaurants"})[0] == purged[0] })
	a.get("/list")
	b.get("/list")
	time.Sleep(1500 * time.Millisecond) // more than clocks may differ by
	dropTable(t, server.URL)
	env.Until(a, "both to hear of the new table", func() bool {
		return a.tags.Marks([]string{"never"})[0].Gen > purged[0].Gen && b.tags.Marks([]string{"never"})[0].Gen > purged[0].Gen
	})
	if err := a.tags.Purge(t.Context(), "last"); err != nil { // arrives after all earlier messages
		t.Fatal(err)
	}
	env.Until(b, "the last purge", func() bool { // directly, or as a backlog if it was made before Up
		return b.tags.Marks([]string{"last"})[0] == a.tags.Marks([]string{"last"})[0]
	})
	a.expect("where it was purged", a.get("/list"), "body", "edge; hit")
	b.expect("at the other gateway", b.get("/list"), "body", "edge; hit")
}

// lookups counts look-ups in memory.
type lookups struct {
	cache.LocalStore
	gets atomic.Int64
}

func (l *lookups) Get(ctx context.Context, key string, fields rfc9111.Fields) (cache.Found, error) {
	l.gets.Add(1)
	return l.LocalStore.Get(ctx, key, fields)
}

// A request looks into memory once, whether it finds something or not.
func TestMemoryIsLookedIntoOnce(t *testing.T) {
	var local *lookups
	e := newEdge(t, options{tiers: func(tiers *cache.Tiers) {
		local = &lookups{LocalStore: tiers.Local}
		tiers.Local = local
	}})
	e.upstreamSays(says("body", "Vary", "X-Client"))
	for _, want := range []string{"miss", "hit"} {
		local.gets.Store(0)
		e.get("/item/1")
		if n := local.gets.Load(); n != 1 || e.exchange().Facts.Cache != want {
			t.Errorf("%s: %d looks into memory", e.exchange().Facts.Cache, n)
		}
	}
}
