package ratelimit_test

import (
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// class is a class of faults, and how much more they may let through.
type class struct {
	name      string
	gateways  [2]int                             // fewest and most
	believes  func(t *rapid.T, gateways int) int // how many each thinks there are; nil: as many as there are
	small     bool                               // buckets of fewer tokens than gateways
	faultless bool
	plain     bool // never more than B + rW; else a history counts if more is allowed
	greedy    bool // all gateways are always asked for all they have
	outages   int  // at most; 0: any number
	actions   []func(*world)
	// allows is what may be admitted beyond r times the length of any window.
	allows   func(w *world, key string) float64
	mutation mutation

	worst, of float64 // seen: the largest share of allows that was used, and allows then, in bursts
}

// mutation is a bug that is planted.
type mutation struct {
	planted bool
	caught  string // how it was detected
	mute    bool   // settlements never arrive
	forget  bool   // one that is repeated counts twice
	whole   bool   // an isolated gateway gives out the whole quota
}

// caught ends the history of a mutation that was detected.
type caught struct{}

// fatalf reports a broken rule. For a mutation that is the expected result.
func (w *world) fatalf(format string, args ...any) {
	if !w.class.mutation.planted {
		w.t.Fatalf(format, args...)
	}
	w.class.mutation.caught = fmt.Sprintf(format, args...)
	panic(caught{})
}

func (w *world) bound(key string) float64 { return w.class.allows(w, key) }

// The parts of the bounds, in tokens.

func (w *world) burst(key string) float64 { return float64(w.keys[key].q.Burst) }

// shares is what isolated gateways may give out at once: a share each, which is no less than the
// most expensive request.
func (w *world) shares(gateways int, key string) float64 {
	return float64(gateways) * max(w.burst(key)/float64(w.least), float64(w.dearest))
}

// besides is what isolated gateways gave out at their part of the rate, beside what the store, or
// one whole quota, gave out at the same time. The store fills up meanwhile, and others may ask it
// before debts are settled. With one outage that counts for a bucket's time; with several, for all
// the time, since debts from before one outage are old in the next.
func (w *world) besides(key string) float64 {
	ways := float64(len(w.aloneWays[key])) / float64(w.least)
	if w.outages > 1 {
		return max(w.in(key, w.beside), ways*w.in(key, time.Since(w.firstCut)))
	}
	return w.in(key, w.beside) + ways*w.in(key, min(w.apart, w.keys[key].q.Whole()))
}

// in is what refills in a time.
func (w *world) in(key string, d time.Duration) float64 {
	return float64(d) / float64(w.keys[key].q.Interval())
}

// unsettled is how long charges made just before all gateways ask again stay unknown: between the
// hook and the barrier's moment, and until the rest is settled.
const unsettled = time.Second

// budget is how long after its arrival a request may be decided.
const budget = 50 * time.Millisecond

func exactly(w *world, key string) float64 { return w.burst(key) }

// withFaults is the bound for all faults together. See docs/how-it-works/limits.md.
func withFaults(w *world, key string) float64 {
	most := w.burst(key) * float64(1+w.losses)
	if len(w.aloneWays[key]) > 0 {
		most += w.shares(len(w.aloneWays[key])+w.restarts, key) + w.besides(key) + w.in(key, budget)
	}
	return most
}

// The actions. Waits and requests happen in all classes.

func (w *world) gateway() int { return rapid.IntRange(0, len(w.gateways)-1).Draw(w.t, "gateway") }

func (w *world) key() string { return rapid.SampledFrom(w.names).Draw(w.t, "key") }

// request asks for one or two limits.
func (w *world) request() {
	keys := []string{w.key()}
	if rapid.IntRange(0, 4).Draw(w.t, "both") == 0 {
		keys = w.names
	}
	w.ask(w.gateway(), rapid.IntRange(1, w.dearest).Draw(w.t, "cost"), keys...)
}

// drain takes everything that some gateways have.
func (w *world) drain() {
	first, many := w.gateway(), 1
	if rapid.Bool().Draw(w.t, "all") {
		many = len(w.gateways)
	}
	w.drainOf(first, many, w.key(), rapid.IntRange(1, w.dearest).Draw(w.t, "cost"))
}

func (w *world) drainOf(first, many int, key string, cost int) (admitted int) {
	for i := range many {
		g := (first + i) % len(w.gateways)
		for w.ask(g, cost, key) == 0 {
			admitted += cost
		}
	}
	return admitted
}

func (w *world) wait() {
	q := w.keys[w.key()].q
	w.sleep(rapid.SampledFrom([]time.Duration{
		time.Millisecond, q.Interval() / 3, q.Interval(), 2*q.Interval() + 1, 100 * time.Millisecond, 700 * time.Millisecond,
		2 * time.Second, q.Whole() / 4, q.Whole() / 2, q.Whole(),
	}).Draw(w.t, "wait"))
}

// insist always asks for everything that is left.
func (w *world) insist() {
	for range rapid.IntRange(1, 20).Draw(w.t, "insist") {
		heard(w)
		w.sleep(50 * time.Millisecond)
	}
}

// polite retries after the time that it is told, until it is admitted.
func (w *world) polite() {
	i, key, cost := w.gateway(), w.key(), rapid.IntRange(1, w.dearest).Draw(w.t, "cost")
	q := w.keys[key].q
	longest := max(q.Whole(), q.Interval()*time.Duration(int(w.n.Load())*w.dearest)) + 2*time.Second
	for start := time.Now(); ; {
		wait := w.ask(i, cost, key)
		if wait == 0 {
			return
		}
		if d := time.Since(start); d > longest {
			w.fatalf("gateway %d refuses %d of %q for %v already, and for %v more: %+v", i, cost, key, d, wait, q)
		}
		w.sleep(wait)
	}
}

// cut separates some or all gateways from the store, in one of the given ways.
func cut(all bool, ways ...int) func(*world) {
	return func(w *world) {
		if w.class.outages > 0 && w.outages >= w.class.outages {
			return
		}
		if w.outages++; w.outages == 1 {
			w.firstCut = time.Now()
		}
		way := int32(rapid.SampledFrom(ways).Draw(w.t, "fault"))
		for i, g := range w.gateways {
			if all || rapid.Bool().Draw(w.t, fmt.Sprint("cut ", i)) {
				g.fault.Store(way)
			}
		}
		if w.class.greedy {
			w.sleep(time.Millisecond)
		}
	}
}

func heal(w *world) {
	for _, g := range w.gateways {
		g.fault.Store(works)
	}
}

func flush(w *world) {
	w.losses++
	w.store.lose(contents{})
}

// quietly lets the store lose everything while no request comes. That costs nothing, since the
// gateways restore it.
func quietly(w *world) {
	w.store.lose(contents{})
	w.sleep(6 * time.Second) // one that flaps is left alone for long
	for _, key := range w.names {
		m := w.keys[key]
		m.leak(time.Now())
		if has := w.store.ahead(key); w.losses == 0 && has < min(m.level, m.q.Whole()) {
			w.fatalf("the store holds %v of %v that was admitted of %q, after a loss", has, m.level, key)
		}
	}
}

func remember(w *world) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.copy = w.store.clone()
}

func restore(w *world) {
	w.losses++
	w.store.lose(w.copy)
}

func jump(w *world) {
	w.losses++
	w.farAhead = true
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.skew += rapid.SampledFrom([]time.Duration{-3 * time.Hour, -5 * time.Second, 3 * time.Second, 3 * time.Hour}).Draw(w.t, "jump")
}

func restart(w *world) {
	w.restarts++
	w.start(w.gateway())
}

func believe(w *world) {
	w.changes++
	n := rapid.IntRange(1, 2*len(w.gateways)).Draw(w.t, "believed")
	w.n.Store(int32(n))
	w.least = min(w.least, n)
}

// shrink makes the quotas smaller, as a reload may. What the old quotas admitted is forgotten: the
// new ones must hold from here on.
func shrink(w *world) {
	w.farAhead = true
	for name, m := range w.keys {
		q := m.q
		q.Burst = max(w.dearest, q.Burst/2)
		q.Period += time.Second
		*m = meter{q: q}
		for _, g := range w.gateways {
			*g.own[name] = meter{q: q}
		}
	}
}

// heard lets every gateway learn the state of the store.
func heard(w *world) {
	for _, key := range w.names {
		for i := range w.gateways {
			w.drainOf(i, 1, key, 1)
		}
	}
}

func classes() []*class {
	few := [2]int{1, 5}
	some := [2]int{2, 5}
	wrong := func(t *rapid.T, gateways int) int { return rapid.IntRange(1, 2*gateways).Draw(t, "believed") }
	anyWay := []int{refuses, hangs, losesReplies, rejects}
	away := []int{refuses, hangs, losesReplies}
	return []*class{
		{name: "no fault", gateways: few, believes: wrong, faultless: true, plain: true, allows: exactly},
		{
			name: "one gateway, any fault but its own restart", gateways: [2]int{1, 1}, believes: wrong, plain: true, allows: exactly,
			actions: []func(*world){cut(true, anyWay...), cut(true, anyWay...), heal, heal, flush, remember, restore, jump},
		},
		{
			name: "outage, a client that is always greedy", gateways: some, greedy: true, outages: 1, actions: []func(*world){cut(true, away...), heal},
			allows: func(w *world, key string) float64 {
				each := 2 * float64(len(w.gateways)) // shares are given out in whole tokens, before and after
				return w.burst(key) + w.in(key, w.beside+unsettled+budget) + each
			},
		},
		{name: "outage", gateways: some, outages: 1, actions: []func(*world){cut(true, away...), heal}, allows: withFaults},
		{name: "outage, gateways believed wrong", gateways: some, believes: wrong, outages: 1, actions: []func(*world){cut(true, away...), heal, believe}, allows: withFaults},
		{name: "outage, fewer tokens than gateways", gateways: some, small: true, outages: 1, actions: []func(*world){cut(true, away...), heal}, allows: withFaults},
		{name: "some gateways cut off", gateways: some, actions: []func(*world){cut(false, anyWay...), cut(false, anyWay...), heal}, allows: withFaults},
		{name: "the store loses what it holds", gateways: some, actions: []func(*world){flush, quietly, quietly, remember, restore}, allows: withFaults},
		{name: "gateways restart in an outage", gateways: some, outages: 1, actions: []func(*world){cut(true, away...), heal, restart}, allows: withFaults},
		{name: "the store's clock jumps", gateways: some, actions: []func(*world){jump}, allows: withFaults},
		{name: "a reload shrinks the quota", gateways: some, actions: []func(*world){shrink}, plain: true, allows: exactly},
		{
			name: "everything at once", gateways: few, believes: wrong, allows: withFaults,
			actions: []func(*world){cut(true, anyWay...), cut(false, anyWay...), heal, heal, flush, remember, restore, jump, restart, believe},
		},
	}
}

// run is one random history of a class.
func (c *class) run(t *rapid.T) {
	if c.mutation.caught != "" {
		return
	}
	w := newWorld(t, c)
	defer w.stop()
	defer func() {
		if r := recover(); r != nil && r != any(caught{}) {
			panic(r)
		}
	}()
	actions := append([]func(*world){(*world).request, (*world).drain, (*world).drain, (*world).wait, (*world).wait, (*world).polite}, c.actions...)
	if c.greedy {
		actions = append([]func(*world){(*world).insist}, c.actions...)
	}
	for range rapid.IntRange(1, 30).Draw(t, "steps") {
		if c.greedy {
			heard(w)
		}
		actions[rapid.IntRange(0, len(actions)-1).Draw(t, "action")](w)
	}
	w.end()
	for _, key := range w.names {
		if bound := c.allows(w, key); (bound > w.burst(key) || c.plain) && w.keys[key].tokens()/bound > c.worst {
			c.worst, c.of = w.keys[key].tokens()/bound, bound/w.burst(key)
		}
	}
}

// end heals all faults, and checks what must hold afterwards.
func (w *world) end() {
	heal(w)
	w.sleep(6 * time.Second)
	for i, g := range w.gateways {
		if !g.sw.Up() {
			w.sleep(10 * time.Second)
		}
		if !g.sw.Up() {
			w.fatalf("gateway %d is not up again: %+v", i, g.sw.Status())
		}
	}
	w.judgeDebts()
	last := w.gateway()
	for range 2 { // once is enough but after a jump of a clock or a reload: that is found out when it is asked for
		longest := time.Duration(0)
		for _, key := range w.names {
			longest = max(longest, w.keys[key].q.Whole())
			if w.farAhead {
				w.ask(last, 1, key)
			}
		}
		w.sleep(longest)
		if !w.farAhead {
			break
		}
	}
	for _, key := range w.names {
		if got := w.drainOf(last, 1, key, 1); got != w.keys[key].q.Burst {
			w.fatalf("after a whole bucket's time a client gets %d of %d", got, w.keys[key].q.Burst)
		}
	}
}

// judgeDebts checks that what was admitted without the store was settled with it, once.
func (w *world) judgeDebts() {
	for _, g := range w.gateways {
		alone := 0
		for _, n := range g.alone {
			alone += n
		}
		if replayed := int(g.limiter.Replayed()); replayed > alone {
			w.fatalf("%d tokens were settled of %d admitted alone", replayed, alone)
		}
	}
	for _, key := range w.names {
		m := w.keys[key]
		if w.losses == 0 && w.store.added[key] > time.Duration(w.admittedAlone[key])*m.q.Interval() {
			w.fatalf("%v were charged for %d tokens admitted alone", w.store.added[key], w.admittedAlone[key])
		}
		if w.losses+w.restarts+w.changes > 0 || w.least < len(w.gateways) {
			continue
		}
		m.leak(time.Now())
		has := w.store.ahead(key)
		// Neither knows of more than a whole bucket. If one gateway's part refills while another's
		// does not, both refill in that time. The last settlement that hung took a second.
		if want := min(m.level, m.q.Whole()) - w.apart - 1200*time.Millisecond; m.worst <= m.q.Whole() && has < want {
			w.fatalf("the store holds %v of %v that was admitted of %q", has, want, key)
		}
	}
}

// check runs random histories of a class.
func (c *class) check(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // otherwise simultaneous timers sometimes crash Go 1.26's race detector
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, c.run) })
}

// set overrides a flag of rapid for one test, unless the command line set it.
func set(t *testing.T, name, usual, value string) {
	f := flag.Lookup(name)
	if before := f.Value.String(); before == usual {
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Value.Set(before) })
	}
	t.Logf("-%s=%s", name, f.Value)
}

// TestBounds injects random faults and measures the worst window. -rapid.checks makes it longer;
// -rapid.seed changes the seed.
func TestBounds(t *testing.T) {
	set(t, "rapid.seed", "0", "2026")
	set(t, "rapid.checks", "100", "50")
	for _, c := range classes() {
		t.Run(c.name, func(t *testing.T) {
			c.check(t)
			t.Logf("worst: %.2f of the bound, which was %.2f B", c.worst, c.of)
		})
	}
}

// TestBoundsSeeMutations plants bugs and checks that the model detects them.
func TestBoundsSeeMutations(t *testing.T) {
	set(t, "rapid.seed", "0", "2026")
	set(t, "rapid.checks", "100", "3000") // it ends with the first that is seen
	for _, tc := range []struct {
		class    string
		sentence string
		mutation mutation
	}{
		{"outage", "settlements never arrive", mutation{mute: true}},
		{"outage", "a settlement that is repeated counts twice", mutation{forget: true}},
		{"outage", "a gateway that is alone gives out the whole quota", mutation{whole: true}},
		{"outage, a client that is always greedy", "the same, to a greedy client", mutation{whole: true}},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			for _, c := range classes() {
				if c.name != tc.class {
					continue
				}
				c.mutation = tc.mutation
				c.mutation.planted = true
				c.check(t)
				if c.mutation.caught == "" {
					t.Error("the mutation was not detected")
				}
				t.Log(c.mutation.caught)
			}
		})
	}
}
