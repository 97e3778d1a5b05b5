package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/test/env"
)

const (
	staleItems  = 20
	staleFaults = 60
	// staleBurst is the most faults in a row. A Redis that comes and goes is left alone
	// for up to 4 s, which each burst then waits for: short bursts take minutes.
	staleBurst = 40
	// staleGrace is for how long both gateways are Up before nothing stale may be served.
	staleGrace = time.Second
	// staleBudget is exceeded by some of the short stops, and not by others.
	staleBudget = 100 * time.Millisecond
)

// staleSeed names the environment variable that makes the faults of a run again. What
// is under way at each of them is up to chance.
const staleSeed = "GATEWAY_STALE_SEED"

// stalePolicy is one of two gateways. The verbs stand for its name, the Redis, its
// budget and the upstream.
const stalePolicy = `
version: 1
server: {data_dir: ./%s, timeouts: {read_header: 30s}}
redis: {url: %q, budget: %v}
session: {cookie: {name: gw, secure: false}}
upstreams:
  app: {targets: [%q]}
routes:
  - {name: item, match: {path: "/item/{id}"}, upstream: app, cache: {ttl: 1h, tags: ["item:{id}"]}, invalidates: ["item:{id}"]}
`

// edition is what an item is now, and where that came from.
type edition struct {
	number int
	at     time.Time
	by     string // the gateway
}

// versions is an upstream of items: a PUT gives an item its next version.
type versions struct {
	mu    sync.Mutex
	items [staleItems]edition // guarded by mu
}

func (v *versions) of(id int) edition {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.items[id]
}

// ServeHTTP answers with the version that the item had when the request came: so a
// response may be old when it arrives.
func (v *versions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/item/"))
	if err != nil || id < 0 || id >= staleItems {
		http.NotFound(w, r)
		return
	}
	v.mu.Lock()
	if r.Method == http.MethodPut {
		v.items[id] = edition{v.items[id].number + 1, time.Now(), r.Header.Get("X-Through")}
	}
	now := v.items[id].number
	v.mu.Unlock()
	time.Sleep(rand.N(5 * time.Millisecond))
	_, _ = fmt.Fprint(w, now)
}

// pairNames are the names of the two gateways.
var pairNames = [2]string{"a", "b"}

// pair is two gateways that share a Redis, and what happens to them.
type pair struct {
	t        *testing.T
	server   *env.RedisServer
	client   *redis.Client // of that server
	upstream versions
	gateways [2]*gatewayProcess
	random   *rand.Rand // decides the faults
	others   *rand.Rand // decides all else
	begin    time.Time
	faults   []string // made so far, for people
}

func startPair(t *testing.T, seed uint64) *pair {
	t.Helper()
	p := &pair{t: t, server: env.Redis(t), random: rand.New(rand.NewPCG(seed, 0)), others: rand.New(rand.NewPCG(seed, 1))}
	p.client = redis.NewClient(&redis.Options{Addr: p.server.Addr})
	upstream := httptest.NewServer(&p.upstream)
	t.Cleanup(func() { _ = p.client.Close(); upstream.Close() })
	here, there := policyFolder(t)
	for _, name := range pairNames {
		writePolicy(t, filepath.Join(here, name+".yaml"), fmt.Sprintf(stalePolicy, name, p.server.URL, staleBudget, upstream.URL))
	}
	own(t, here)
	for i, name := range pairNames {
		p.gateways[i] = start(t, nil, "run", "--config", filepath.Join(there, name+".yaml"))
	}
	p.awaitUp()
	p.begin = time.Now()
	return p
}

// awaitUp waits until both gateways say in one look that they use Redis.
func (p *pair) awaitUp() {
	p.t.Helper()
	env.Eventually(p.t, 20*time.Second, func() error {
		for i, g := range p.gateways {
			if a := g.get(g.admin + "/readyz?verbose"); !strings.Contains(a.body, "\n[+] redis: up since ") {
				return fmt.Errorf("gateway %s is not up:\n%s\nafter%s", pairNames[i], a.body, p.last())
			}
		}
		return nil
	})
}

// settle waits until both gateways have used Redis for the grace without a break. One
// that says so once may not have noticed the last loss: that takes a probe.
func (p *pair) settle() {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		p.awaitUp()
		before, _ := p.upSince()
		time.Sleep(staleGrace)
		if now, up := p.upSince(); up && now == before {
			return
		}
	}
	p.t.Fatalf("the gateways do not stay up, after%s", p.last())
}

// upSince reports whether both gateways use Redis, and since when each is in its state.
func (p *pair) upSince() (since [2]string, up bool) {
	p.t.Helper()
	up = true
	for i, g := range p.gateways {
		status := g.redis(p.t)[0].Status
		since[i], up = status.Since, up && status.State == "up"
	}
	return since, up
}

// fault is something that happens to Redis.
type fault struct {
	weight int
	mild   bool // gateways go on with Redis, as a rule
	// happen says what it was. It reports whether it changed anything.
	happen func(*pair) (what string, changed bool)
}

// The faults that end the server's process take longer, and are rarer.
var allFaults = []fault{
	{30, true, func(p *pair) (string, bool) {
		d := 20*time.Millisecond + p.atMost(130*time.Millisecond)
		p.server.Stop()
		time.Sleep(d)
		p.server.Cont()
		return fmt.Sprint("stopped for ", d.Round(time.Millisecond)), true
	}},
	{30, true, func(p *pair) (string, bool) {
		key := p.do("RANDOMKEY")
		return fmt.Sprint("evicted ", key), p.do("DEL", key) == int64(1)
	}},
	{12, false, func(p *pair) (string, bool) { return "evicted gw:{epoch}", p.do("DEL", "gw:{epoch}") == int64(1) }},
	{18, true, func(p *pair) (string, bool) {
		lost := p.do("CLIENT", "KILL", "TYPE", "pubsub")
		return fmt.Sprint("lost subscriptions: ", lost), lost != int64(0)
	}},
	{3, false, func(p *pair) (string, bool) { p.server.Restart(true); return "restarted empty", true }},
	{3, false, func(p *pair) (string, bool) { p.server.Restart(false); return "restarted with its data", true }},
	{4, false, func(p *pair) (string, bool) {
		p.server.Kill()
		time.Sleep(p.atMost(100 * time.Millisecond))
		p.server.Restart(false)
		return "restarted with the data of its last save", true
	}},
}

// atMost is a time from 0 up to d, as the faults' seed has it.
func (p *pair) atMost(d time.Duration) time.Duration { return time.Duration(p.random.Int64N(int64(d))) }

// do asks Redis for something. Nothing is "".
func (p *pair) do(args ...any) any {
	p.t.Helper()
	v, err := p.client.Do(p.t.Context(), args...).Result()
	if errors.Is(err, redis.Nil) {
		return ""
	}
	if err != nil {
		p.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// draw takes a fault at random.
func (p *pair) draw(mild bool) fault {
	var all []fault // each as often as it weighs
	for _, f := range allFaults {
		if f.mild || !mild {
			all = append(all, slices.Repeat([]fault{f}, f.weight)...)
		}
	}
	return all[p.random.IntN(len(all))]
}

// fail makes one fault. One that changes nothing, such as an eviction from an empty
// Redis, does not count.
func (p *pair) fail(f fault) {
	p.t.Helper()
	at := time.Since(p.begin)
	if what, changed := f.happen(p); changed {
		p.faults = append(p.faults, fmt.Sprintf("%.3f s: %s", at.Seconds(), what))
	}
}

// last are the faults of the last burst, and some before them.
func (p *pair) last() string {
	return "\n\t" + strings.Join(p.faults[max(0, len(p.faults)-staleBurst-4):], "\n\t")
}

// burst makes at most so many faults while both gateways are written through. Every
// other burst is mild on average: a rejoin makes good for what was missed before it, so
// some bursts must do without one.
func (p *pair) burst(most int) {
	p.t.Helper()
	p.do("SAVE")
	stop := p.traffic(http.MethodPut, 20*time.Millisecond)
	mild, faults := p.others.IntN(2) == 0, 1+p.others.IntN(staleBurst)
	if mild {
		faults = (faults + 1) / 2
	}
	for end := len(p.faults) + min(faults, most); len(p.faults) < end; {
		time.Sleep(p.atMost(50 * time.Millisecond))
		p.fail(p.draw(mild))
	}
	stop()
}

// traffic asks both gateways for items at random, until stop is called. Stop waits
// for the last answers, of which none may be a failure.
func (p *pair) traffic(method string, every time.Duration) (stop func()) {
	var wg sync.WaitGroup
	end, once := make(chan struct{}), sync.Once{}
	for i, g := range p.gateways {
		random := rand.New(rand.NewPCG(p.others.Uint64(), 0))
		wg.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-end:
					return
				case <-tick.C:
				}
				if _, err := fetch(g, pairNames[i], method, random.IntN(staleItems)); err != nil {
					p.t.Errorf("gateway %s: %v", pairNames[i], err)
					return
				}
			}
		})
	}
	stop = func() { once.Do(func() { close(end) }); wg.Wait() }
	p.t.Cleanup(stop)
	return stop
}

// fetch makes a request for an item. Unlike gatewayProcess.do, any goroutine may call it.
func fetch(g *gatewayProcess, name, method string, id int) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprint(g.base, "/item/", id), nil)
	if err != nil {
		return answer{}, err
	}
	if method == http.MethodPut {
		req.Header.Set("X-Through", name)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s of item %d: %s", method, id, res.Status)
	}
	return answer{res, string(body)}, err
}

// check reads every item through both gateways. Nobody writes.
func (p *pair) check() {
	p.t.Helper()
	stale := 0
	for i, g := range p.gateways {
		name := pairNames[i]
		for id := range staleItems {
			a, err := fetch(g, name, http.MethodGet, id)
			if err != nil {
				p.t.Fatalf("gateway %s: %v", name, err)
			}
			if want := p.upstream.of(id); a.body != strconv.Itoa(want.number) {
				stale++
				p.t.Errorf("gateway %s: item %d has version %s, want %d, which was written %.3f s ago at %.3f s through %s; Age %q, Cache-Status %q",
					name, id, a.body, want.number, time.Since(want.at).Seconds(), want.at.Sub(p.begin).Seconds(), want.by, a.Header.Get("Age"), cacheStatus(a))
			}
		}
	}
	if stale == 0 {
		return
	}
	for i, g := range p.gateways {
		p.t.Logf("gateway %s said\n%s", pairNames[i], g.stderr.String())
	}
	p.t.Fatalf("%d stale responses at %.3f s (0 s is %s), after%s",
		stale, time.Since(p.begin).Seconds(), p.begin.UTC().Format("15:04:05.000"), p.last())
}

func staleSeedOf(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv(staleSeed)
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", staleSeed, err)
	}
	return seed
}

// Short stops of Redis, restarts, lost subscriptions and evictions of single keys,
// under writes through two gateways: nothing stale is served once both have used Redis
// for a second.
func TestNothingStaleIsServedAfterFaultsOfRedis(t *testing.T) { // alone: a load beside other tests says nothing
	seed := staleSeedOf(t)
	t.Logf("%s=%d makes the same faults", staleSeed, seed)
	p := startPair(t, seed)
	p.traffic(http.MethodGet, 5*time.Millisecond)
	bursts := 0
	for ; len(p.faults) < staleFaults; bursts++ {
		p.burst(staleFaults - len(p.faults))
		p.settle()
		p.check()
	}
	t.Logf("%d faults in %d bursts took %.1f s", len(p.faults), bursts, time.Since(p.begin).Seconds())
}
