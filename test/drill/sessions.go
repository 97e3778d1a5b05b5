package drill

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jewgo/gateway/test/env"
)

//go:embed sessions.yaml
var sessionsPolicy []byte

// sessionsPlaces is put over the policy: a gateway that restarts is in the same place again.
const sessionsPlaces = `server: {listen: "${GATEWAY_DRILL_LISTEN}", peers: "${GATEWAY_DRILL_PEERS:-}"}`

const (
	// sessionsUsers is how many users a world has, with two browsers each.
	sessionsUsers = 10
	// sessionsThink is the most time between two steps of a user, and between two replays.
	sessionsThink = 80 * time.Millisecond
	// restartShare of the outages, in percent, have a gateway that restarts inside.
	restartShare = 60
)

// Sessions lets users log in, read, write and log out through three worlds: one gateway, three, and three that hear of
// logouts through Redis alone. It plays faults in an order drawn by Seed until Length has passed or ctx is done, restarts
// gateways inside of outages, and replays copied cookies of ended sessions all the time.
func Sessions(ctx context.Context, t env.T, cfg Config) (SessionsReport, error) {
	d := &sessionsDrill{Config: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 0))}
	for _, kind := range []struct {
		gateways int
		peers    bool
	}{{gateways, false}, {gateways, true}, {1, true}} {
		d.worlds = append(d.worlds, newSessionsWorld(t, cfg, kind.gateways, kind.peers))
	}
	cfg.Say(fmt.Sprintf("seed %d, %v, %d worlds of 1 and %d gateways", cfg.Seed, cfg.Length, len(d.worlds), gateways))
	for i, w := range d.worlds {
		w.begin(cfg.Seed + uint64(i) + 1)
	}
	err := d.play(ctx)
	for _, w := range d.worlds {
		w.end()
	}
	if err != nil {
		return SessionsReport{}, err
	}
	return d.report()
}

// sessionsDrill is a running Sessions.
type sessionsDrill struct {
	Config
	random *rand.Rand
	worlds []*sessionsWorld
}

// play plays faults, in one world after the other, and at least one in each: while one is broken, the others are calm.
func (d *sessionsDrill) play(ctx context.Context) error {
	for _, w := range d.worlds {
		if err := w.fleet.awaitUp(nil); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(d.Length)
	for round := 0; ; round++ {
		for _, w := range d.worlds {
			if round > 0 && !time.Now().Before(deadline) || ctx.Err() != nil {
				return ctx.Err()
			}
			if err := w.outage(ctx, d.random); err != nil {
				return err
			}
		}
	}
}

func (d *sessionsDrill) report() (SessionsReport, error) {
	r := SessionsReport{Seed: d.Seed, Passed: true}
	for _, w := range d.worlds {
		if err := w.sweep(); err != nil {
			return r, err
		}
		row := w.judge()
		r.Rows = append(r.Rows, row)
		r.Passed = r.Passed && len(row.Problems) == 0
	}
	return r, nil
}

// sessionsWorld is gateways with a Redis and users of their own.
type sessionsWorld struct {
	site   *site
	fleet  fleet
	urls   []string // of the gateways; a restart keeps them
	redis  *env.RedisServer
	faults []Fault // to play before any is repeated
	say    func(string)
	client *http.Client

	lives   []atomic.Int64 // of each gateway: odd while it restarts
	broken  atomic.Int64   // odd while a fault is played
	running sync.WaitGroup // users and replays
	stop    chan struct{}
	users   []*sessionsUser

	mu     sync.Mutex // guards what follows
	copies []*copied
	row    SessionsRow
	wrong  map[string]string // the first example of each problem
	admins sync.RWMutex      // held while a restart changes a gateway of fleet
}

func newSessionsWorld(t env.T, cfg Config, n int, peers bool) *sessionsWorld {
	redis := env.Redis(t)
	w := &sessionsWorld{
		site:  newSite(t, cfg.Program, sessionsPolicy, redis.URL, sessionsPlaces, "UPSTREAM_URL="+serve(t, sessionsApp{})),
		redis: redis, say: cfg.Say, stop: make(chan struct{}), lives: make([]atomic.Int64, n), wrong: map[string]string{},
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		row:    SessionsRow{Gateways: n, Peers: peers},
	}
	for range n {
		vars := []string{"GATEWAY_DRILL_LISTEN=127.0.0.1:" + env.FreePort(t)}
		if peers {
			vars = append(vars, "GATEWAY_DRILL_PEERS=127.0.0.1:"+env.FreePort(t))
		}
		g := w.site.open(vars...)
		w.fleet, w.urls = append(w.fleet, g), append(w.urls, g.url)
	}
	return w
}

// begin starts the users and the replays.
func (w *sessionsWorld) begin(seed uint64) {
	for i := range sessionsUsers {
		u := &sessionsUser{world: w, name: fmt.Sprintf("user%d", i), random: rand.New(rand.NewPCG(seed, uint64(i)+1))}
		w.users = append(w.users, u)
		w.running.Go(func() { w.repeat(u.random, u.step) })
	}
	for i := range 2 {
		random := rand.New(rand.NewPCG(seed, uint64(sessionsUsers+i)+1))
		w.running.Go(func() { w.repeat(random, func() { w.replay(random) }) })
	}
}

// end waits for the users and the replays.
func (w *sessionsWorld) end() {
	close(w.stop)
	w.running.Wait()
}

func (w *sessionsWorld) repeat(random *rand.Rand, step func()) {
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(time.Duration(random.Int64N(int64(sessionsThink)))):
			step()
		}
	}
}

// outage plays one fault, and most times restarts a gateway while Redis is away.
func (w *sessionsWorld) outage(ctx context.Context, random *rand.Rand) error {
	if len(w.faults) == 0 {
		w.faults = shuffled(append(serverFaults(w.redis), restartedFault(w.redis)), random)
	}
	f := w.faults[0]
	w.faults = w.faults[1:]
	if f.Before != nil {
		f.Before()
		time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond) // what an old copy does not have
	}
	begin, restarted := f.Start, ""
	if f.End != nil && random.IntN(100) < restartShare {
		i, sig := random.IntN(len(w.fleet)), []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[random.IntN(2)]
		restarted = fmt.Sprintf(", gateway %d restarted by %v", i, sig)
		f.Start = func() {
			begin()
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			w.restart(i, sig)
		}
	}
	w.broken.Add(1)
	o, err := w.fleet.play(ctx, f, time.Duration(200+random.IntN(1000))*time.Millisecond)
	if err != nil {
		return fmt.Errorf("%s%s: %w", f.Name, restarted, err)
	}
	w.told(o.whole)
	w.broken.Add(1)
	w.mu.Lock()
	w.row.Outages++
	if restarted != "" {
		w.row.Overlaps++
	}
	w.mu.Unlock()
	w.say(fmt.Sprintf("%d gateways: %s for %.1fs%s, in use by all %.1fs later",
		len(w.fleet), f.Name, o.whole.Sub(o.from).Seconds(), restarted, o.returned.Seconds()))
	return nil
}

// restartedFault is a server that is upgraded: it saves its data, and comes back with them.
func restartedFault(redis *env.RedisServer) Fault {
	return Fault{
		Name: "restarted", Description: "the server saves, ends, and comes back with its data",
		Start: redis.End, End: func() { redis.Restart(false) }, Steady: true,
	}
}

// restart ends a gateway, and starts it again in the same place.
func (w *sessionsWorld) restart(i int, sig syscall.Signal) {
	w.admins.Lock()
	defer w.admins.Unlock()
	w.lives[i].Add(1)
	w.fleet[i].process.Stop(sig)
	w.site.launch(w.fleet[i])
	w.lives[i].Add(1)
}

// steady reports whether no gateway has doubted Redis since then, as on a machine that stood still.
func (w *sessionsWorld) steady(since time.Time) bool {
	w.admins.RLock()
	defer w.admins.RUnlock()
	all, err := w.fleet.statuses()
	if err != nil {
		return false
	}
	for _, s := range all {
		if n := len(s.History); s.State != "up" || n > 0 && s.History[n-1].At.After(since) {
			return false
		}
	}
	return true
}
