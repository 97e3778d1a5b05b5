package cache_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
)

// Orders of events in which a purge could be lost.

// orderly runs a test on a fleet without traffic.
func orderly(t *testing.T, gateways int, test func(f *modelFleet)) { inFleet(t, gateways, 1, "", test) }

// write changes the origin's resource, and purges it.
func (f *modelFleet) write(run modelRun, tag string) {
	f.newest[tag]++
	_ = run.tags.Purge(f.Context(), tag)
}

// expectFresh fails if a gateway serves a response that is not the newest.
func (f *modelFleet) expectFresh(tag string) {
	f.Helper()
	for i, g := range f.gateways {
		f.expectFreshOf(i, g.run(), tag)
	}
}

func (f *modelFleet) expectFreshOf(i int, run modelRun, tag string) {
	f.Helper()
	if stale := f.stale(i, run, tag); stale != "" {
		f.Error(stale)
	}
}

// awaitUp waits until all gateways use the store.
func (f *modelFleet) awaitUp() {
	f.Helper()
	for began := time.Now(); !f.allUp(); time.Sleep(time.Millisecond) {
		if time.Since(began) > modelUp {
			f.Fatalf("not all are up after %v", modelUp)
		}
	}
}

// The store did not take a purge, and it is forgotten with its gateway. Entries of other gateways
// must not carry its generation, since the store gives that to the next purge.
func TestAPurgeThatIsForgottenHidesNoOther(t *testing.T) {
	orderly(t, 3, func(f *modelFleet) {
		one, two, three := f.gateways[0], f.gateways[1], f.gateways[2]
		f.set(func(*modelStore) { one.link.deaf = true })
		f.write(one.run(), "a")
		f.read(f.Context(), one.run(), "a", 0) // into the store too
		f.read(f.Context(), two.run(), "a", 0) // from there
		clear(one.journal.purges)
		one.stop()
		one.ended.Wait()
		f.write(three.run(), "a")
		time.Sleep(modelFresh)
		f.gateways = f.gateways[1:]
		f.awaitUp()
		f.expectFresh("a")
		f.gateways = append(f.gateways, one)
	})
}

// A server whose clock is behind replaces another, and lacks its last writes.
func TestAClockThatIsBehindGivesNoGenerationTwice(t *testing.T) {
	orderly(t, 2, func(f *modelFleet) {
		one, two := f.gateways[0], f.gateways[1]
		f.write(one.run(), "a")
		f.set(func(s *modelStore) {
			s.old = s.held.copied()
			for w := range s.watchers {
				w.dead = true
			}
		})
		f.write(one.run(), "a") // two does not hear of it
		f.read(f.Context(), one.run(), "a", 0)
		f.set(func(s *modelStore) {
			s.held, s.servers, s.behind = s.old.copied(), s.servers+1, time.Hour
			one.link.cut = true
		})
		time.Sleep(modelFresh) // two is up, one is not
		f.write(two.run(), "a")
		f.set(func(*modelStore) { one.link.cut = false })
		time.Sleep(2 * modelFresh)
		f.awaitUp()
		time.Sleep(modelFresh)
		f.expectFresh("a")
	})
}

// While there are two primaries, one gateway's purges go to the one that is given up. They were
// made after the other's table began, and concern entries filled there.
func TestAPurgeInAPrimaryThatIsGivenUpIsMadeInTheOther(t *testing.T) {
	orderly(t, 2, func(f *modelFleet) {
		for _, g := range f.gateways {
			f.read(f.Context(), g.run(), "b", 0)
		}
		time.Sleep(2 * time.Minute)
		old := newModelStore(rand.New(rand.NewPCG(1, 2)), "")
		f.set(func(s *modelStore) { old.held, old.servers = s.held.copied(), s.servers })
		way, run := &movable{}, modelRun{}
		way.to.Store(&modelLink{modelStore: old})
		run.health = failover.New(failover.Config{Probe: way.Probe, Renew: way.touch, Classify: func(error) failover.Kind { return failover.Fault }})
		run.tags = cache.NewTags(cache.TagsConfig{Counters: way, Switch: run.health})
		run.tiers = &cache.Tiers{Local: memory.NewCache(1<<20, time.Now), Shared: way, Switch: run.health, Tags: run.tags, Now: time.Now}
		ctx, stop := context.WithCancel(f.Context())
		var ended sync.WaitGroup
		defer ended.Wait()
		defer stop()
		ended.Go(func() { run.health.Run(ctx) })
		ended.Go(func() { run.tags.Run(ctx) })
		<-run.health.Probed()

		f.set(func(s *modelStore) { s.servers++ }) // the other primary
		time.Sleep(2 * modelFresh)
		f.awaitUp()
		for _, g := range f.gateways {
			f.read(f.Context(), g.run(), "a", 0)
			f.read(f.Context(), g.run(), "b", 0)
		}
		time.Sleep(time.Minute)
		f.write(run, "a")
		if run.tags.Pending() {
			t.Fatal("the old primary did not take the purge")
		}
		way.to.Store(f.gateways[0].link)
		old.hush(false)
		time.Sleep(modelUp)
		f.awaitUp()
		f.expectFresh("a")
		f.expectFreshOf(2, run, "a")
		if found, _ := f.gateways[1].run().tiers.Get(f.Context(), "b", noFields{}); found.Entry == nil {
			t.Error("an entry without a purge is gone")
		}
	})
}

// Gateways that come back late must not repeat a purge that was already sent to the store.
func TestAPurgeThatWasBroughtIsNotRepeatedByThoseWhoComeLater(t *testing.T) {
	orderly(t, 3, func(f *modelFleet) {
		f.peers = true
		late := f.gateways[2]
		f.set(func(s *modelStore) { s.refusing = true })
		time.Sleep(modelFresh)
		f.write(f.gateways[0].run(), "a")
		f.set(func(*modelStore) { late.link.cut = true })
		f.store.heal()
		f.gateways = f.gateways[:2]
		f.awaitUp()
		time.Sleep(modelFresh)
		f.read(f.Context(), f.gateways[0].run(), "a", 0)
		f.read(f.Context(), f.gateways[1].run(), "a", 0)
		f.gateways = append(f.gateways, late)
		f.set(func(*modelStore) { late.link.cut = false })
		f.awaitUp()
		time.Sleep(modelFresh)
		for i, g := range f.gateways {
			if found, _ := g.run().tiers.Get(f.Context(), "a", noFields{}); found.Entry == nil {
				t.Errorf("gateway %d has lost an entry that was filled after the purge", i)
			}
		}
	})
}

// Few purges of a slot are kept apart. One beyond them must be sent too: the store may know the
// others already, so that they change nothing.
func TestAPurgeBeyondThoseThatAreToldApartIsBrought(t *testing.T) {
	counters := &strictCounters{}
	tags := cache.NewTags(cache.TagsConfig{Counters: counters, Switch: failover.New(failover.Config{})})
	slot := tags.Marks([]string{"a"})[0].Slot
	for i := range 20 {
		tags.Restore([]cache.Purge{{Mark: cache.Mark{Slot: slot, Gen: 1}, Origin: strconv.Itoa(i)}})
	}
	if err := tags.Purge(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := tags.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := func(c cache.Change) bool { return c.ID != "" && len(strings.Split(c.ID, ":")[1]) < 3 } // another's
	if !slices.ContainsFunc(counters.changes, func(c cache.Change) bool { return !told(c) }) {
		t.Errorf("the purge is not among %v", counters.changes)
	}
}

// movable is a gateway's connection to one of two stores.
type movable struct{ to atomic.Pointer[modelLink] }

func (m *movable) Probe(ctx context.Context) (failover.Epoch, error) { return m.to.Load().Probe(ctx) }

func (m *movable) touch(ctx context.Context, last failover.Epoch) (failover.Epoch, error) {
	return m.to.Load().touch(ctx, last)
}

func (m *movable) Change(ctx context.Context, base uint64, changes []cache.Change) (cache.Table, error) {
	return m.to.Load().Change(ctx, base, changes)
}

func (m *movable) Load(ctx context.Context) (cache.Table, error) { return m.to.Load().Load(ctx) }

func (m *movable) Watch(ctx context.Context, connected func(), changed func(cache.Table)) error {
	link := *m.to.Load()
	link.life = ctx
	return link.Watch(ctx, connected, changed)
}

func (m *movable) Get(ctx context.Context, key string, fields rfc9111.Fields) (cache.Found, error) {
	return m.to.Load().Get(ctx, key, fields)
}

func (m *movable) Put(ctx context.Context, key string, e *cache.Entry) error {
	return m.to.Load().Put(ctx, key, e)
}
