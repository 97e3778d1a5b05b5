package proxy

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// PoolsConfig configures Pools. The zero value works.
type PoolsConfig struct {
	Log *slog.Logger     // targets that become unhealthy or healthy again; nil: discarded
	Now func() time.Time // nil: time.Now
	// Tight reports whether resources are scarce: then upstreams get no more requests at once than their
	// concurrency.min. nil: never.
	Tight func() bool
}

// Pools holds a pool of targets for each upstream of the policy. It is an http.RoundTripper for
// requests whose context carries an Exchange with a Route. It sets the scheme and host of the
// request's URL and keeps the rest, including Host. Before RoundTrip returns, it notes Target,
// UpstreamTime, UpstreamCode and Retries in the Exchange's Facts.
//
// Health checks run from the first commit until Close.
type Pools struct {
	cfg     PoolsConfig
	current atomic.Pointer[generation]

	mu     sync.Mutex // guards closed, and changes of current
	closed bool
}

// generation is the pools of one policy.
type generation struct {
	pools   map[string]*pool
	removed map[string]*pool // by this policy; for requests that the previous one routed
}

var _ http.RoundTripper = (*Pools)(nil)

// NewPools returns Pools that are empty until the first commit.
func NewPools(cfg PoolsConfig) *Pools {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Tight == nil {
		cfg.Tight = func() bool { return false }
	}
	p := &Pools{cfg: cfg}
	p.current.Store(&generation{})
	return p
}

// Prepare makes pools for a policy; commit puts them in force. Pools with an unchanged definition are
// kept, with their connections and health. Without commit nothing changes and nothing needs cleanup.
// Only one Prepare and its commit may run at a time.
func (p *Pools) Prepare(snap *policy.Snapshot) (commit func(), err error) {
	current := p.current.Load()
	next := &generation{pools: make(map[string]*pool), removed: make(map[string]*pool)}
	var made []*pool
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(snap.Policy.Upstreams)) {
		def := snap.Policy.Upstreams[name]
		all := boundsOf(snap, name)
		if old := current.pools[name]; old != nil && old.same(def, all) {
			next.pools[name] = old
			continue
		}
		fresh, err := newPool(p.cfg, name, def, all)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		next.pools[name] = fresh
		made = append(made, fresh)
	}
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	return func() { p.commit(current, next, made) }, nil
}

// boundsOf returns the default bounds of an upstream, then those of all its routes.
func boundsOf(snap *policy.Snapshot, upstream string) []bounds {
	usual := bounds{snap.Policy.Upstreams[upstream].Timeout.Std(), snap.Policy.Server.Timeouts.Progress.Std()}
	var own []bounds
	for _, r := range snap.Routes {
		if r.Upstream == upstream {
			own = append(own, bounds{r.Timeout, r.Progress})
		}
	}
	slices.SortFunc(own, func(a, b bounds) int {
		return cmp.Or(cmp.Compare(a.head, b.head), cmp.Compare(a.progress, b.progress))
	})
	return append([]bounds{usual}, slices.Compact(own)...)
}

func (p *Pools) commit(current, next *generation, made []*pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	for _, fresh := range made {
		fresh.start()
	}
	var gone []*pool
	for name, old := range current.pools {
		if next.pools[name] == old {
			continue
		}
		gone = append(gone, old)
		if next.pools[name] == nil {
			next.removed[name] = old
		}
	}
	p.current.Store(next)
	for _, old := range gone {
		old.retire()
	}
}

// RoundTrip implements http.RoundTripper. The upstream's timeout bounds the time to the response's
// header, and the policy's progress timeout bounds silence within the body. The body as a whole has
// no time bound.
func (p *Pools) RoundTrip(req *http.Request) (*http.Response, error) {
	ex := exchange.From(req.Context())
	pool := p.find(ex.Route.Upstream)
	if pool == nil {
		if req.Body != nil {
			_ = req.Body.Close() // a RoundTripper always closes it
		}
		return nil, ErrNoTarget
	}
	start := p.cfg.Now()
	resp, err := pool.roundTrip(req, ex)
	ex.Facts.UpstreamTime += p.cfg.Now().Sub(start)
	if err != nil {
		return nil, err
	}
	ex.Facts.UpstreamCode = resp.StatusCode
	rewriteResponse(resp)
	return resp, nil
}

func (p *Pools) find(name string) *pool {
	g := p.current.Load()
	if found := g.pools[name]; found != nil {
		return found
	}
	return g.removed[name]
}

// Status returns the state of all targets, by upstream and in the policy's order.
func (p *Pools) Status() []TargetStatus {
	var all []TargetStatus
	g := p.current.Load()
	for _, name := range slices.Sorted(maps.Keys(g.pools)) {
		for _, t := range g.pools[name].targets {
			all = append(all, t.status())
		}
	}
	return all
}

// Load returns the load of all upstreams in the order of their names.
func (p *Pools) Load() []Load {
	var all []Load
	g := p.current.Load()
	for _, name := range slices.Sorted(maps.Keys(g.pools)) {
		all = append(all, g.pools[name].concurrency.load(name))
	}
	return all
}

// Close ends the health checks and closes idle connections. Requests in flight go on. Call it when no
// more requests can come.
func (p *Pools) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	g := p.current.Load()
	for _, pool := range g.pools {
		pool.retire()
	}
	for _, pool := range g.removed {
		pool.conns.Load().closeIdle()
	}
}
