package proxy

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// pool is one upstream: its targets, its connections, its health checks.
type pool struct {
	cfg     PoolsConfig
	def     policy.Upstream
	bounds  []bounds  // the default, then those of its routes, sorted
	targets []*target // never empty
	conns   atomic.Pointer[transports]
	budget  retryBudget

	concurrency *concurrency
	turn        atomic.Uint64 // for round robin

	stop    context.CancelFunc // nil before start
	watches sync.WaitGroup
	retired atomic.Bool // only requests of an older snapshot still come
}

// target is one server of a pool.
type target struct {
	upstream string
	url      *url.URL // scheme and host
	seed     uint64   // for byHash
	inFlight atomic.Int64
	out      atomic.Bool // unhealthy, by health checks

	mu       sync.Mutex // guards what follows
	failures int        // failed health checks in a row
	checked  bool
	since    time.Time
	reason   string
}

func newPool(cfg PoolsConfig, name string, def policy.Upstream, all []bounds) (*pool, error) {
	p := &pool{
		cfg: cfg, def: def, bounds: all,
		budget:      retryBudget{share: float64(def.Retries.Budget)},
		concurrency: newConcurrency(def.Concurrency, cfg.Tight),
	}
	h2c := 0
	for _, raw := range def.Targets {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("upstream %q: target %q is not http://host:port, https://host:port or h2c://host:port", name, raw)
		}
		base := &url.URL{Scheme: u.Scheme, Host: u.Host}
		if u.Scheme == "h2c" {
			base.Scheme = "http"
			h2c++
		}
		hash := fnv.New64a()
		_, _ = hash.Write([]byte(base.String())) // a hash never fails
		p.targets = append(p.targets, &target{upstream: name, url: base, seed: hash.Sum64(), since: cfg.Now()})
	}
	if len(p.targets) == 0 {
		return nil, fmt.Errorf("upstream %q: no targets", name)
	}
	if h2c > 0 && h2c < len(p.targets) {
		return nil, fmt.Errorf("upstream %q: only some targets are h2c", name)
	}
	p.conns.Store(newTransports(def.Idle.Std(), h2c > 0, all))
	return p, nil
}

// same reports whether p was made from this definition.
func (p *pool) same(def policy.Upstream, all []bounds) bool {
	return slices.Equal(p.bounds, all) && reflect.DeepEqual(p.def, def)
}

// start begins the health checks; retire ends them.
func (p *pool) start() {
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	if p.def.Health.Path == "" || p.def.Health.Interval == 0 {
		return
	}
	for _, t := range p.targets {
		p.watches.Go(func() { p.watch(ctx, t) })
	}
}

// retire ends the health checks and closes the connections: idle ones now, the others as their
// responses end.
func (p *pool) retire() {
	p.retired.Store(true)
	p.stop()
	p.watches.Wait()
	p.conns.Load().closeIdle()
}

// roundTrip sends a request, and retries it where that is allowed.
func (p *pool) roundTrip(req *http.Request, ex *exchange.Exchange) (*http.Response, error) {
	leave, ok := p.enter(req.Context(), ex)
	if !ok {
		if req.Body != nil {
			_ = req.Body.Close() // a RoundTripper always closes it
		}
		return nil, ErrBusy
	}
	p.budget.request(p.cfg.Now())
	var tried []*target
	for {
		t := p.pick(ex.View.Client, tried)
		ex.Facts.Target = t.url.Host
		began := p.cfg.Now()
		resp, err := p.try(req, ex.Route, t, leave)
		if now := p.cfg.Now(); req.Body == nil && (err == nil || isTimeout(err)) { // the time of a body is the client's
			p.concurrency.answered(now.Sub(began), now)
		}
		if err == nil {
			return resp, nil
		}
		if len(tried) >= p.def.Retries.Attempts || !repeatable(req, err) || !p.budget.take(p.cfg.Now()) {
			leave()
			return nil, err
		}
		tried = append(tried, t)
		ex.Facts.Retries++
	}
}

// enter counts a request until leave is called. Health checks that come through the gateway always pass.
func (p *pool) enter(ctx context.Context, ex *exchange.Exchange) (leave func(), ok bool) {
	if ex.View.Path == p.def.Health.Path {
		return func() {}, true
	}
	return sync.OnceFunc(p.concurrency.leave), p.concurrency.enter(ctx)
}

// try sends a request to one target. leave is called when the response ends; streams do not count.
func (p *pool) try(req *http.Request, route *policy.Route, t *target, leave func()) (*http.Response, error) {
	out := req.WithContext(carrying(req.Context(), req.Body)) // a shallow copy: req is the caller's
	u := *req.URL
	u.Scheme, u.Host = t.url.Scheme, t.url.Host
	out.URL = &u
	t.inFlight.Add(1)
	conns := p.conns.Load()
	transport, progress := conns.of(route)
	resp, err := transport.RoundTrip(out)
	if err != nil {
		t.inFlight.Add(-1)
		return nil, err
	}
	if u, ok := req.Body.(*upload); ok {
		u.answer()
	}
	if idle, told := keptFor(resp.Header); told && resp.ProtoMajor == 1 {
		p.keepFor(conns, idle)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols || sendsEvents(req, resp) {
		leave()
	}
	holdBody(resp, progress, func() { p.release(t); leave() })
	if resp.StatusCode < 100 { // net/http can read it, but panics when it has to write it
		_ = resp.Body.Close() // as below
		return nil, errStatus
	}
	asked := req.Header.Get("Upgrade")
	if resp.StatusCode == http.StatusSwitchingProtocols && (asked == "" || !strings.EqualFold(resp.Header.Get("Upgrade"), asked)) {
		_ = resp.Body.Close() // ReverseProxy would leave it open
		return nil, errUpgrade
	}
	return resp, nil
}

// keepFor limits how long idle connections are kept. The lowest value of any target applies to all.
func (p *pool) keepFor(conns *transports, idle time.Duration) {
	if idle < conns.idle && p.conns.CompareAndSwap(conns, newTransports(idle, conns.h2c, p.bounds)) {
		conns.closeIdle()
	}
}

// release is called when a response ends.
func (p *pool) release(t *target) {
	t.inFlight.Add(-1)
	if p.retired.Load() {
		p.conns.Load().closeIdle()
	}
}
