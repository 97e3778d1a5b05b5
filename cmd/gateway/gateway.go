package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/internal/certs"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/reload"
	"github.com/jewgo/gateway/internal/systemd"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/proxy"
)

// gateway is all the parts of a running gateway.
type gateway struct {
	live     policy.Live
	inForce  inForce
	handler  http.Handler // for clients: observer outermost, forward innermost
	observer *middleware.Observer
	forward  *proxy.Handler
	admin    http.Handler // for the operator
	reloader *reload.Reloader
	draining atomic.Bool
	log      *slog.Logger
	hop      string // in Via; unique, so that a loop is noticed

	durable   *durable
	fleet     *fleet
	resources *resources
	stores    *stores
	limits    *limits
	flights   ratelimit.InFlight
	pools     *proxy.Pools
	certs     *certs.Keeper
	cache     *cache.Cache
	warmer    *warmer
	stop      context.CancelFunc
	watching  sync.WaitGroup // of the goroutines that end with stop
	resting   sync.Once
}

// parts are what the chain needs beside the gateway's own.
type parts struct {
	secrets *secrets
	numbers *metrics.Metrics
	access  *slog.Logger
}

// newGateway wires a gateway for a policy and starts its background work. It waits a
// moment for Redis, so that the first request finds it connected. close ends it.
func newGateway(ctx context.Context, snapshot *policy.Snapshot, s *service, log *slog.Logger) (_ *gateway, err error) {
	if err := atomicfile.MkdirAll(snapshot.Policy.Server.DataDir); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	secrets, err := loadSecrets(snapshot.Policy, log)
	if err != nil {
		return nil, err
	}
	numbers := metrics.New(versionText())
	numbers.Counter("gateway_log_dropped_total", "Log lines that were dropped because their reader was gone or too slow.", s.droppedLines)
	g := &gateway{log: log, hop: "edge (" + rand.Text()[:8] + ")"}
	defer func() {
		if err != nil {
			g.abandon()
		}
	}()
	g.live.Store(snapshot)
	g.inForce.put(snapshot, time.Now())
	numbers.Routes(snapshot.Routes)
	if g.durable, err = openDurable(snapshot.Policy.Server.DataDir, numbers, log); err != nil {
		return nil, err
	}
	if g.stores, err = openStores(snapshot.Policy, g.durable, numbers, log); err != nil {
		return nil, err
	}
	g.fleet = g.durable.fleet
	g.fleet.openRoll(&g.live, g.stores, log)
	g.limits = openLimits(snapshot.Policy, g.stores.redis, g.fleet.roll, numbers)
	g.resources = openResources(snapshot.Policy, numbers, log)
	g.pools = proxy.NewPools(proxy.PoolsConfig{Log: log, Tight: g.resources.tight.Load})
	if g.certs, err = g.openCertificates(snapshot.Policy, secrets); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	byPolicy := []reload.Part{g.pools, g.certs}
	for _, part := range byPolicy {
		commit, err := part.Prepare(snapshot)
		if err != nil {
			return nil, err
		}
		commit()
	}
	g.reloader = &reload.Reloader{
		Load: s.loadOverridden, Live: &g.live, Parts: byPolicy, Every: 250 * time.Millisecond,
		Report: func(s *policy.Snapshot, err error) { g.reloaded(numbers, s, err) },
	}
	g.join(&parts{secrets: secrets, numbers: numbers, access: accessLogger(s, snapshot.Policy)})
	g.admin = g.adminHandler(snapshot, secrets, numbers)
	if err = g.fleet.listen(g, snapshot.Policy, secrets); err != nil {
		return nil, fmt.Errorf("server.peers: %w", err)
	}
	g.count(numbers)
	g.begin(ctx, numbers)
	return g, nil
}

// abandon closes what newGateway has opened so far.
func (g *gateway) abandon() {
	if g.pools != nil {
		g.pools.Close()
	}
	if g.certs != nil {
		g.certs.Close()
	}
	if g.stores != nil {
		g.stores.close()
	}
	if g.durable != nil {
		g.durable.close()
	}
}

// adminHandler is the admin API.
func (g *gateway) adminHandler(snapshot *policy.Snapshot, secrets *secrets, numbers *metrics.Metrics) http.Handler {
	return admin.New(admin.Config{
		Token:         secrets.adminToken,
		TokenForReads: snapshot.Policy.Server.AdminTokenFile != "",
		Address:       snapshot.Policy.Server.Admin,
		Conditions:    g.conditions,
		Policy:        g.inForce.show,
		Reload:        g.reloader.Reload,
		Upstreams:     func() any { return map[string]any{"targets": g.pools.Status()} },
		Metrics:       numbers.Handler(),
		Limits:        &limitsAdmin{g.limits, &g.live, g.fleet.roll},
		Cache:         cacheAdmin{g.cache, g.stores.cacheRedis, &g.live},
		Purges:        purgesAdmin{&cache.Purges{Tags: g.stores.tags, Fleet: g.fleet, Now: time.Now}, &g.live},
		Sessions:      sessionsAdmin{g.stores.sessions, g.cache, &g.live},
		Explain:       g.explainer(secrets).answer,
		Warm:          g.warmer,
		Status:        func() any { return g.status(numbers) },
		History:       func() any { return map[string]any{"moments": numbers.History()} },
		Routes:        func() any { return g.routes(numbers) },
		Log:           g.log,
		Redis: func(ctx context.Context) any {
			v := g.stores.view(ctx)
			v.Journal, v.Peers = g.durable.journal.Status(), g.fleet.view()
			return v
		},
	})
}

// begin starts the background work, which ends with close, and waits a moment for Redis
// and the other gateways.
func (g *gateway) begin(ctx context.Context, numbers *metrics.Metrics) {
	ctx, g.stop = context.WithCancel(ctx)
	g.stores.run(ctx, &g.watching)
	if g.limits.resets != nil {
		g.watching.Go(func() { g.limits.Hear(ctx, g.limits.resets) })
	}
	g.stores.await(g.log)
	g.fleet.join(ctx)
	g.watching.Go(func() { g.fleet.roll.Run(ctx) })
	g.watching.Go(func() { g.resources.watch(ctx) })
	g.watching.Go(func() { g.certs.Run(ctx) })
	g.watching.Go(func() { numbers.Sample(ctx) })
}

// layer is one layer of the chain, with the name that the documentation uses.
type layer struct {
	name string
	wrap middleware.Middleware
}

// chain is what every request passes through: the layers, and the proxy behind them.
type chain struct {
	observer *middleware.Observer
	hop      string
	sessions *session.Manager
	limits   ratelimit.HandlerConfig
	cache    *cache.Cache

	upstreams http.RoundTripper
	identity  *session.Keyring
	now       func() time.Time
	log       *slog.Logger

	watch     middleware.Middleware // behind Observe; nil: none
	unlimited bool                  // without the layer of limits
}

// layers is what a request passes through before it is forwarded, outermost first. Each layer reads
// its route from the request, so a reload rebuilds nothing.
func (c *chain) layers() []layer {
	return []layer{
		{"Observe", c.observer.Handler},
		{"Headers", middleware.Headers},
		{"CORS", middleware.CORS},
		{"Hygiene", middleware.Hygiene(c.hop)},
		{"Route", middleware.Route},
		{"session", c.sessions.Handler},
		{"ratelimit", ratelimit.Handler(c.limits)},
		{"cache.Handler", c.cache.Handler},
	}
}

// forward is the end of the chain.
func (c *chain) forward() *proxy.Handler {
	return proxy.New(proxy.Config{
		Transport: c.sessions.Transport(c.cache.Transport(c.upstreams)),
		Identity:  session.NewIdentity(c.identity, c.now).Header,
		Hop:       c.hop,
		Log:       c.log,
	})
}

// before joins the layers in front of h.
func (c *chain) before(h http.Handler) http.Handler {
	var wraps []middleware.Middleware
	for _, l := range c.layers() {
		if l.name == "ratelimit" && c.unlimited {
			continue
		}
		if wraps = append(wraps, l.wrap); l.name == "Observe" && c.watch != nil {
			wraps = append(wraps, c.watch)
		}
	}
	return middleware.Chain(h, wraps...)
}

// join makes the gateway's chain.
func (g *gateway) join(p *parts) {
	g.cache = g.stores.newCache(g.fleet.roll, g.log)
	g.observer = &middleware.Observer{Live: &g.live, Log: p.access, Errors: g.log, Metrics: p.numbers, Now: time.Now}
	sessions := g.stores.sessions
	inFlight := func(l *policy.Limit, allowed bool) { p.numbers.Limit(l.Name, "in_flight", allowed, l.Shadow) }
	c := chain{
		observer: g.observer, hop: g.hop, cache: g.cache,
		sessions:  session.New(session.Config{Keys: p.secrets.session, Store: sessions, Now: time.Now, Ended: g.cache.EndSession, Forgotten: sessions.Forgotten, Log: g.log}),
		limits:    ratelimit.HandlerConfig{Store: g.limits, Count: inFlight, Flights: &g.flights},
		upstreams: g.pools, identity: p.secrets.identity, now: time.Now, log: g.log,
	}
	g.forward = c.forward()
	g.handler = c.before(g.forward)
	c.watch, c.unlimited = noteExchange, true
	g.warmer = &warmer{handler: c.before(g.forward), live: &g.live, tags: g.stores.tags, log: g.log}
}

// reloaded logs the outcome of a reload.
func (g *gateway) reloaded(numbers *metrics.Metrics, s *policy.Snapshot, err error) {
	numbers.Reload(err)
	if err != nil {
		g.inForce.refuse(err, time.Now())
	} else {
		g.inForce.put(s, time.Now())
		numbers.Routes(s.Routes)
	}
	defer func() { systemd.Reloaded(g.summary()) }()
	var mistakes policy.Errors
	switch {
	case errors.As(err, &mistakes):
		for _, m := range mistakes {
			g.log.Error("policy not reloaded, the old one stays in force", "error", m.Error())
		}
	case err != nil:
		g.log.Error("policy not reloaded, the old one stays in force", "error", err.Error())
	default:
		g.log.Info("policy reloaded", "file", s.File, "digest", s.Digest)
		_ = g.limits.replaced(context.Background(), s.Policy) // else they expire by themselves
	}
}

// summary is the version and the policy in force in one line.
func (g *gateway) summary() string {
	p := g.inForce.show()
	return fmt.Sprintf("gateway %s serves %s, %s", versionText(), p.File, p.Digest)
}

// conditions is the state of every part, for /readyz.
func (g *gateway) conditions() []admin.Condition {
	snapshot := g.live.Load()
	conditions := []admin.Condition{{Name: "policy", Detail: snapshot.File + " " + snapshot.Digest}, g.durable.condition()}
	conditions = append(conditions, g.fleet.conditions()...)
	conditions = append(conditions, g.stores.conditions()...)
	conditions = append(conditions, g.certificateConditions()...)
	healthy := map[string]int{}
	for _, t := range g.pools.Status() {
		if t.Healthy {
			healthy[t.Upstream]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(snapshot.Policy.Upstreams)) {
		targets := len(snapshot.Policy.Upstreams[name].Targets)
		c := admin.Condition{Name: "upstream " + name, Detail: fmt.Sprintf("%d of %d targets healthy", healthy[name], targets)}
		if healthy[name] < targets {
			c.Level = admin.Degraded // stored responses and the other targets still serve
		}
		if healthy[name] == 0 {
			c.Serves = servesWithout(snapshot, name)
		}
		conditions = append(conditions, c)
	}
	if g.draining.Load() {
		conditions = append(conditions, admin.Condition{Name: "process", Level: admin.NotReady, Detail: "draining"})
	}
	return conditions
}

// count adds the metrics of the gateway as a whole.
func (g *gateway) count(numbers *metrics.Metrics) {
	numbers.Gauge("gateway_requests_in_flight", "Requests being served.", func() float64 {
		all, _ := g.observer.InFlight()
		return float64(all)
	})
	numbers.Gauge("gateway_health", "Health of the gateway, the worst of its parts: 0 ok, 1 degraded, 2 not ready (/readyz?verbose).", func() float64 {
		return float64(admin.Worst(g.conditions()))
	})
	numbers.Gauge("gateway_policy_refused", "1 while the policy before stays in force because a changed one has a mistake (gateway changes).", func() float64 {
		return float64(min(len(g.inForce.show().Refused), 1))
	})
	numbers.Peers(g.fleet.numbers)
	numbers.Targets(g.targets)
	numbers.Loads(g.loads)
	numbers.Certificates(g.certificates)
}

// loads is what the upstreams have to do, for the metrics.
func (g *gateway) loads() (all []metrics.Load) {
	for _, l := range g.pools.Load() {
		all = append(all, metrics.Load(l))
	}
	return all
}

// targets is the state of the upstreams' targets for the metrics.
func (g *gateway) targets() (all []metrics.Target) {
	for _, t := range g.pools.Status() {
		all = append(all, metrics.Target{Upstream: t.Upstream, Address: t.Target, Up: t.Healthy})
	}
	return all
}

// servesWithout tells what clients get while all targets of an upstream are unhealthy.
func servesWithout(s *policy.Snapshot, upstream string) []string {
	cached := func(r *policy.Route) bool { return r.Upstream == upstream && r.Cache != nil }
	if !slices.ContainsFunc(s.Routes, cached) {
		return []string{"clients get 502, or 504 where it does not answer; every request still tries it"}
	}
	return []string{
		"cached routes: stored responses, also stale ones where stale_if_error allows it",
		"anything else: 502, or 504 where it does not answer; every request still tries it",
	}
}

// close ends everything that newGateway started. No request may be in flight.
func (g *gateway) close() {
	g.warmer.end()
	g.cache.Close()
	g.pools.Close()
	g.limits.close()
	g.rest()
	g.stores.close()
}

// rest ends the background work and releases data_dir, once.
func (g *gateway) rest() {
	g.resting.Do(func() {
		g.stop()
		g.watching.Wait()
		g.certs.Close()
		g.durable.close()
	})
}

// accessLogger writes to standard output, where containers expect it; everything
// else goes to standard error.
func accessLogger(s *service, p *policy.Policy) *slog.Logger {
	switch p.Log.Format {
	case "text":
		return slog.New(slog.NewTextHandler(s.stdout, nil))
	case "combined":
		return slog.New(middleware.NewCombinedLog(s.stdout))
	}
	return slog.New(slog.NewJSONHandler(s.stdout, nil))
}
