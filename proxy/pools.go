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
	Log *slog.Logger     // of targets that go out and come back; nil: nobody is told
	Now func() time.Time // nil: time.Now
}

// Pools holds a pool of targets for each upstream of the policy. It is an
// http.RoundTripper for requests whose context carries an Exchange with a Route;
// it chooses the scheme and host of their URL and keeps the rest, Host too. It
// notes Target, UpstreamTime, UpstreamCode and Retries in the Exchange's Facts,
// before RoundTrip returns.
//
// Health checks run from the first commit to Close.
type Pools struct {
	cfg     PoolsConfig
	current atomic.Pointer[generation]

	mu     sync.Mutex // guards closed, and changes of current
	closed bool
}

// generation are the pools of one policy.
type generation struct {
	pools   map[string]*pool
	removed map[string]*pool // by this policy; for requests that were routed by the one before
}

var _ http.RoundTripper = (*Pools)(nil)

// NewPools returns Pools that hold none until the first commit.
func NewPools(cfg PoolsConfig) *Pools {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Pools{cfg: cfg}
	p.current.Store(&generation{})
	return p
}

// Prepare makes pools for a policy; commit puts them in force. Pools of an
// unchanged definition go on as they are, with their connections and what is
// known of their health. Until commit nothing happens, and without it nothing
// is left. One Prepare and commit at a time.
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

// boundsOf gives the usual bounds of an upstream, then those of all its routes.
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

// RoundTrip implements http.RoundTripper. The time to the response's head is
// bounded by the upstream's timeout, and the silence within the body by the
// policy's progress timeout; the body as a whole is not bounded.
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

// Status tells the state of all targets, by upstream and in the policy's order.
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

// Close ends the health checks and lets go of idle connections. Requests in
// flight go on; it is called when there are no more to come.
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
