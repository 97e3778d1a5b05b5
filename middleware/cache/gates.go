package cache

import (
	"context"
	"sync"
	"time"

	"github.com/jewgo/gateway/policy"
)

// gates bound the requests of the cache that wait for the head of an upstream's response, so that an
// empty cache does not overload the upstream.
type gates struct {
	mu sync.Mutex
	of map[string]chan struct{} // by upstream; guarded by mu
}

// enter waits for the upstream's turn, at most for the route's timeout. The caller calls leave once.
func (g *gates) enter(ctx context.Context, route *policy.Route) (leave func(), err error) {
	gate := g.gate(route.Upstream, route.Fills)
	leave = func() { <-gate }
	select {
	case gate <- struct{}{}:
		return leave, nil
	default:
	}
	late := time.NewTimer(route.Timeout)
	defer late.Stop()
	select {
	case gate <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, context.DeadlineExceeded
	}
}

// gate returns an upstream's gate. A policy with another size begins a new one.
func (g *gates) gate(upstream string, size int) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.of[upstream]
	if cap(gate) != size {
		if g.of == nil {
			g.of = map[string]chan struct{}{}
		}
		gate = make(chan struct{}, size)
		g.of[upstream] = gate
	}
	return gate
}
