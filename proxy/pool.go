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
	s := &stay{pool: p, counted: ex.View.Path != p.def.Health.Path}
	if s.counted && !p.concurrency.enter(req.Context()) {
		if req.Body != nil {
			_ = req.Body.Close() // a RoundTripper always closes it
		}
		return nil, ErrBusy
	}
	p.budget.request(p.cfg.Now())
	var tried []*target
	for {
		s.target = p.pick(ex.View.Client, tried)
		ex.Facts.Target = s.target.url.Host
		began := p.cfg.Now()
		resp, err := p.try(req, ex.Route, s)
		if now := p.cfg.Now(); req.Body == nil && (err == nil || isTimeout(err)) { // the time of a body is the client's
			p.concurrency.answered(now.Sub(began), now)
		}
		if err == nil {
			return resp, nil
		}
		if len(tried) >= p.def.Retries.Attempts || !repeatable(req, err) || !p.budget.take(p.cfg.Now()) {
			s.leave()
			return nil, err
		}
		tried = append(tried, s.target)
		ex.Facts.Retries++
	}
}

// stay is a request at an upstream, from its turn to the end of its response.
type stay struct {
	pool    *pool
	target  *target // of the last try
	counted bool    // in the concurrency. Health checks that come through the gateway always pass
	body    responseBody

	left, ended atomic.Bool
}

// leave ends what counts in the concurrency: streams do not.
func (s *stay) leave() {
	if s.counted && !s.left.Swap(true) {
		s.pool.concurrency.leave()
	}
}

// end is called when the response ends, any number of times.
func (s *stay) end() {
	if s.ended.Swap(true) {
		return
	}
	s.target.inFlight.Add(-1)
	if s.pool.retired.Load() {
		s.pool.conns.Load().closeIdle()
	}
	s.leave()
}

// try sends a request to the target of its stay.
func (p *pool) try(req *http.Request, route *policy.Route, s *stay) (*http.Response, error) {
	t := s.target
	// A try before it may have had a response, though one that is none.
	s.ended.Store(false)
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
		s.leave()
	}
	holdBody(resp, progress, s)
	if resp.StatusCode < 100 { // net/http can read it, but panics when it has to write it
		_ = resp.Body.Close() // as below
		return nil, errStatus
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if asked := req.Header.Get("Upgrade"); asked == "" || !strings.EqualFold(resp.Header.Get("Upgrade"), asked) {
			_ = resp.Body.Close() // ReverseProxy would leave it open
			return nil, errUpgrade
		}
	}
	return resp, nil
}

// keepFor limits how long idle connections are kept. The lowest value of any target applies to all.
func (p *pool) keepFor(conns *transports, idle time.Duration) {
	if idle < conns.idle && p.conns.CompareAndSwap(conns, newTransports(idle, conns.h2c, p.bounds)) {
		conns.closeIdle()
	}
}
