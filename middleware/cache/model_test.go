package cache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

const (
	// modelUp is when all gateways use a working store again, as in the model of internal/failover:
	// the longest hold, two probes, the wait for the others, and a second for the backlog.
	modelUp = 6500 * time.Millisecond
	// modelFresh is when nothing stale is served any more after that.
	modelFresh = time.Second
)

// modelTags are so many that another purge seldom hides the loss of one.
var modelTags = strings.Split("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", "")

// modelFleet is gateways with one store, and an origin whose resources change.
type modelFleet struct {
	*testing.T
	store *modelStore
	plant string
	peers bool // gateways speak with each other too

	rnd      *rand.Rand // of the faults; the test's alone
	gateways []*modelGateway
	trace    []string

	mu      sync.Mutex
	newest  map[string]int // versions at the origin; guarded by mu
	traffic bool           // guarded by mu
	steps   int            // requests and purges; guarded by mu
	applied int            // operators' purges that were; guarded by mu
	wrong   string         // what was stale although its purge was applied; guarded by mu
}

// modelGateway is one gateway's cache. Its journal survives a restart.
type modelGateway struct {
	fleet   *modelFleet
	link    *modelLink
	journal ledger
	stop    context.CancelFunc
	ended   *sync.WaitGroup

	mu   sync.Mutex
	runs modelRun // guarded by mu
}

// modelRun is one run of the process.
type modelRun struct {
	health *failover.Switch
	tags   *cache.Tags
	tiers  *cache.Tiers
}

// modelFleetOf is the other gateways as one of them sees them, by heartbeats in the store.
type modelFleetOf struct {
	gateway *modelGateway
	counted []*modelGateway // by the last call of Positions
}

// Positions implements cache.Fleet.
func (m *modelFleetOf) Positions(ctx context.Context) (known []cache.Position, err error) {
	g := m.gateway
	if time.Since(g.run().health.Status().Since) < 3*time.Second {
		return nil, errAway // the others are still to beat
	}
	m.counted, err = ask(ctx, g.link, func() (live []*modelGateway, err error) {
		for other, beat := range g.link.beats {
			if other != g && time.Now().Before(beat.ends) {
				known, live = append(known, beat.position), append(live, other)
			}
		}
		return live, nil
	})
	return known, err
}

// beat tells the other gateways each second how much of the table this one knows.
func (g *modelGateway) beat(ctx context.Context, run modelRun) {
	for ctx.Err() == nil {
		at := run.tags.Position()
		if g.fleet.plant == "a gateway claims purges that it has not heard of" {
			at.Seq += 1000
		}
		within, cancel := context.WithTimeout(ctx, time.Second)
		_, _ = ask(within, g.link, func() (struct{}, error) {
			g.link.beats[g] = modelBeat{at, time.Now().Add(5 * time.Second)}
			return struct{}{}, nil
		})
		cancel()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// operate purges a tag as an operator does. Once that is applied, no gateway with a heartbeat may
// serve what was stored before.
func (f *modelFleet) operate(ctx context.Context, by *modelGateway, run modelRun, tag string) {
	f.mu.Lock()
	f.newest[tag]++
	version := f.newest[tag]
	f.mu.Unlock()
	fleet := &modelFleetOf{gateway: by}
	purges := &cache.Purges{Tags: run.tags, Fleet: fleet, Now: time.Now}
	s, err := purges.Start(ctx, &policy.Snapshot{Policy: &policy.Policy{}}, cache.Selection{Tags: []string{tag}})
	for end := time.Now().Add(20 * time.Second); err == nil && !s.Applied; s, _ = purges.Status(ctx, s.ID) {
		if time.Now().After(end) || ctx.Err() != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return
	}
	for _, g := range append(fleet.counted, by) {
		found, err := g.run().tiers.Get(ctx, tag, noFields{})
		if err != nil || found.Entry == nil {
			continue
		}
		if had, _ := strconv.Atoi(string(found.Entry.Body)); had < version {
			f.mu.Lock()
			f.wrong = fmt.Sprintf("version %d of %s from %s on gateway %d, at %v, although its purge at version %d was applied on gateway %d, at %v",
				had, tag, found.Tier, slices.Index(f.gateways, g), g.run().tags.Position(), version, slices.Index(f.gateways, by), run.tags.Position())
			f.mu.Unlock()
		}
	}
	f.mu.Lock()
	f.applied++
	f.mu.Unlock()
}

// run is the current one.
func (g *modelGateway) run() modelRun {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs
}

// Keep implements cache.Journal: purges unknown to the store are sent to the peers.
func (g *modelGateway) Keep(ctx context.Context, purges []cache.Purge) error {
	var missed []cache.Purge
	for _, p := range purges {
		if !p.Known {
			missed = append(missed, p)
		}
	}
	if g.fleet.plant == "the journal keeps what the store knows alone" {
		purges = slices.DeleteFunc(slices.Clone(purges), func(p cache.Purge) bool { return !p.Known })
	}
	_ = g.journal.Keep(ctx, purges)
	if len(missed) > 0 && g.fleet.peers {
		for _, other := range g.fleet.gateways {
			if other != g {
				other.hear(missed)
			}
		}
	}
	return nil
}

// hear applies a peer's purges.
func (g *modelGateway) hear(purges []cache.Purge) {
	_ = g.journal.Keep(g.fleet.Context(), purges)
	g.run().tags.Restore(purges)
}

// start begins a run.
func (g *modelGateway) start(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	g.link.life = ctx
	health := failover.New(failover.Config{
		Probe: g.link.Probe, Renew: g.link.touch, Classify: func(err error) failover.Kind {
			if err == errAway {
				return failover.Fault
			}
			return failover.Timeout
		},
	})
	tags := cache.NewTags(cache.TagsConfig{Counters: g.link, Switch: health, Journal: g})
	g.mu.Lock()
	g.runs = modelRun{health, tags, &cache.Tiers{Local: memory.NewCache(1<<20, time.Now), Shared: g.link, Switch: health, Tags: tags, Now: time.Now}}
	run := g.runs
	g.mu.Unlock()
	tags.Restore(g.journal.kept())
	g.stop, g.ended = stop, &sync.WaitGroup{}
	g.ended.Go(func() { health.Run(ctx) })
	g.ended.Go(func() { tags.Run(ctx) })
	g.ended.Go(func() { g.beat(ctx, run) })
	<-health.Probed()
	for i := range uint64(3) {
		rnd := rand.New(rand.NewPCG(g.fleet.rnd.Uint64(), i))
		g.ended.Go(func() { g.serve(ctx, run, rnd) })
	}
}

// serve makes requests, mostly reads.
func (g *modelGateway) serve(ctx context.Context, run modelRun, rnd *rand.Rand) {
	f := g.fleet
	for {
		timer := time.NewTimer(time.Duration(rnd.Int64N(int64(40 * time.Millisecond))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		f.mu.Lock()
		traffic := f.traffic
		f.steps++
		f.mu.Unlock()
		tag := modelTags[rnd.IntN(len(modelTags))]
		switch {
		case !traffic:
		case rnd.IntN(50) == 0:
			f.operate(ctx, g, run, tag)
		case rnd.IntN(6) == 0:
			f.mu.Lock()
			f.newest[tag]++
			f.mu.Unlock()
			_ = run.tags.Purge(ctx, tag)
		default:
			f.read(ctx, run, tag, time.Duration(rnd.Int64N(int64(10*time.Millisecond))))
		}
	}
}

// read answers from the cache, or asks the origin, which takes that long.
func (f *modelFleet) read(ctx context.Context, run modelRun, tag string, takes time.Duration) {
	if found, err := run.tiers.Get(ctx, tag, noFields{}); err == nil && found.Entry != nil {
		return
	}
	marks := run.tags.Marks([]string{tag})
	f.mu.Lock()
	body := strconv.Itoa(f.newest[tag])
	f.mu.Unlock()
	time.Sleep(takes)
	if run.tags.Valid(marks) {
		_ = run.tiers.Put(ctx, tag, &cache.Entry{
			Status: 200, Body: []byte(body), Marks: marks, Received: time.Now(), Fresh: time.Hour, Keep: 2 * time.Hour,
		})
	}
}

type noFields struct{}

func (noFields) Values(string) []string { return nil }

// modelFaults are the faults; the test heals those that do not end by themselves.
var modelFaults = []struct {
	name string
	do   func(f *modelFleet)
}{
	{"refuses", func(f *modelFleet) {
		f.set(func(s *modelStore) { s.refusing = true })
		f.store.hush(false)
		f.pass(time.Second)
		f.store.heal()
	}},
	{"hangs", func(f *modelFleet) {
		f.set(func(s *modelStore) { s.hanging = true })
		f.pass(time.Second)
		f.store.heal()
	}},
	{"is cut off without a sign", func(f *modelFleet) {
		f.set(func(s *modelStore) { s.hanging = true })
		f.store.hush(true)
		time.Sleep(6 * time.Second) // for all to notice, and no rejoin to go on
		f.store.heal()
	}},
	{"evicts the table", func(f *modelFleet) { f.set((*modelStore).evict) }},
	{"evicts an entry", func(f *modelFleet) {
		f.set(func(s *modelStore) { delete(s.held.entries, modelTags[f.rnd.IntN(len(modelTags))]) })
	}},
	{"loses the subscriptions", func(f *modelFleet) { f.store.hush(false) }},
	{"fails to read", func(f *modelFleet) {
		f.set(func(s *modelStore) { s.failLoads = len(f.gateways) })
		f.store.hush(false)
	}},
	{"loses the subscriptions and the table", func(f *modelFleet) {
		f.store.hush(false)
		f.pass(50 * time.Millisecond)
		f.set((*modelStore).evict)
	}},
	{"comes back empty", func(f *modelFleet) {
		f.set(func(s *modelStore) { s.refusing, s.held, s.servers = true, emptyData(), s.servers+1; clear(s.beats) })
		f.store.hush(false)
		f.pass(time.Second)
		f.store.heal()
	}},
	{"is copied", func(f *modelFleet) { f.set(func(s *modelStore) { s.old = s.held.copied() }) }},
	{"comes back old", func(f *modelFleet) {
		f.set(func(s *modelStore) { s.refusing, s.held, s.servers = true, s.old.copied(), s.servers+1; clear(s.beats) })
		f.store.hush(false)
		f.pass(time.Second)
		f.store.heal()
	}},
	{"cuts one gateway off", func(f *modelFleet) {
		link := f.gateways[f.rnd.IntN(len(f.gateways))].link
		f.set(func(*modelStore) { link.cut = true })
		f.pass(2 * time.Second)
		if f.rnd.IntN(2) == 0 {
			f.set((*modelStore).evict)
		}
		f.set(func(*modelStore) { link.cut = false })
	}},
	{"sees a gateway restart", (*modelFleet).restart},
	{"refuses while a gateway restarts", func(f *modelFleet) {
		f.set(func(s *modelStore) { s.refusing = true })
		f.pass(time.Second)
		f.restart()
		f.store.heal()
	}},
}

func (f *modelFleet) restart() {
	g := f.gateways[f.rnd.IntN(len(f.gateways))]
	g.stop()
	g.ended.Wait()
	g.start(f.Context())
}

// evict drops the table and the epoch.
func (s *modelStore) evict() {
	s.held.epoch, s.held.base = failover.Epoch{}, 0
	s.held.now, s.held.was = map[uint16]uint64{}, map[uint16]uint64{}
}

func (f *modelFleet) set(change func(*modelStore)) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	change(f.store)
}

// pass lets up to that much time pass.
func (f *modelFleet) pass(most time.Duration) { time.Sleep(time.Duration(f.rnd.Int64N(int64(most)))) }

// inFleet runs a test on a fleet, in virtual time, with random decisions from a seed.
func inFleet(t *testing.T, gateways int, seed uint64, plant string, test func(f *modelFleet)) {
	synctest.Test(t, func(t *testing.T) {
		f := &modelFleet{T: t, plant: plant, rnd: rand.New(rand.NewPCG(seed, 0)), newest: map[string]int{}}
		f.store = newModelStore(rand.New(rand.NewPCG(seed, 1)), plant)
		for range gateways {
			f.gateways = append(f.gateways, &modelGateway{fleet: f, link: &modelLink{modelStore: f.store}})
		}
		ctx, cancel := context.WithCancel(t.Context())
		for _, g := range f.gateways {
			g.start(ctx)
		}
		test(f)
		cancel()
		for _, g := range f.gateways {
			g.stop()
			g.ended.Wait()
		}
	})
}

// modelStale runs a fleet through faults, from a seed, and says what is stale after them; "":
// nothing.
func modelStale(t *testing.T, seed uint64, plant string) (stale string) {
	inFleet(t, 3, seed, plant, func(f *modelFleet) {
		f.peers = f.rnd.IntN(2) == 0
		for range 8 {
			if stale = f.burst(); stale != "" {
				stale = fmt.Sprintf("seed %d, peers %v: %s, after %v", seed, f.peers, stale, f.trace)
				return
			}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.Logf("seed %d: %d steps, %d purges of operators were applied", seed, f.steps, f.applied)
	})
	return stale
}

// burst injects faults under traffic, and checks what is stale after them.
func (f *modelFleet) burst() string {
	f.drive(true)
	f.trace = append(f.trace, "|")
	for range 1 + f.rnd.IntN(3) {
		f.pass(700 * time.Millisecond)
		fault := modelFaults[f.rnd.IntN(len(modelFaults))]
		f.trace = append(f.trace, fault.name)
		fault.do(f)
	}
	f.pass(300 * time.Millisecond)
	f.drive(false)
	f.mu.Lock()
	wrong := f.wrong
	f.mu.Unlock()
	if wrong != "" {
		return wrong
	}
	f.set(func(s *modelStore) { s.failLoads = 0 })
	healed := time.Now()
	for !f.allUp() {
		if time.Since(healed) > modelUp {
			return fmt.Sprintf("not all are up after %v", modelUp)
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(modelFresh)
	if !f.allUp() {
		return "" // the loss is only detected now: another outage
	}
	for i, g := range f.gateways {
		for _, tag := range modelTags {
			if stale := f.stale(i, g.run(), tag); stale != "" {
				return stale
			}
		}
	}
	return ""
}

// stale describes a gateway that serves a response which is not the newest; "": it does not.
func (f *modelFleet) stale(i int, run modelRun, tag string) string {
	found, err := run.tiers.Get(f.Context(), tag, noFields{})
	f.mu.Lock()
	newest := strconv.Itoa(f.newest[tag])
	f.mu.Unlock()
	if err != nil || found.Entry == nil || string(found.Entry.Body) == newest {
		return ""
	}
	return fmt.Sprintf("gateway %d has %s of version %s from %s, the newest is %s", i, tag, found.Entry.Body, found.Tier, newest)
}

func (f *modelFleet) drive(traffic bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.traffic = traffic
}

func (f *modelFleet) allUp() bool {
	return !slices.ContainsFunc(f.gateways, func(g *modelGateway) bool { return !g.run().health.Up() })
}

// Whatever happens to the store, and whichever gateways restart: one second after all use it again,
// nothing stale is served. Time is virtual.
func TestNothingStaleAfterAllAreUp(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	for i := range uint64(10) {
		if stale := modelStale(t, seed+i, ""); stale != "" {
			t.Error(stale)
		}
	}
}

// The model detects each of these planted bugs, so it would detect them in the code.
func TestModelFindsPlantedBugs(t *testing.T) {
	t.Parallel()
	for _, plant := range []string{
		"a table begins from nothing",
		"an unanswered purge counts as made",
		"what a lost table knew is dropped",
		"a purge lifts above what the shared store knows alone",
		"nothing is read when listening begins",
		"a dead connection is listened to",
		"the journal keeps what the store knows alone",
		"a gateway claims purges that it has not heard of",
	} {
		t.Run(plant, func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			for i := range uint64(150) {
				if stale := modelStale(t, seed+i, plant); stale != "" {
					t.Logf("found by %d seeds: %s", i+1, stale)
					return
				}
			}
			t.Error("not found")
		})
	}
}
