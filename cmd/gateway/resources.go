package main

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/wire"
	"github.com/jewgo/gateway/policy"
)

const (
	// descriptorsKept are for listeners, files, Redis and other gateways.
	descriptorsKept = 64
	// memoryLook is how often memory is looked at. It is scarce from tightAbove on, until it is below
	// tightBelow; both are shares of the limit.
	memoryLook = 100 * time.Millisecond
	tightAbove = 0.90
	tightBelow = 0.80
	// collectEvery is how often garbage is collected meanwhile, since what is in use is known only then.
	collectEvery = 10 // looks
)

// resources are the descriptors and the memory of the process. Where they run out, what is served goes on.
type resources struct {
	connections wire.Connections
	tight       atomic.Bool // memory is scarce
	garbage     *garbage
	log         *slog.Logger
}

func openResources(p *policy.Policy, numbers *metrics.Metrics, log *slog.Logger) *resources {
	r := &resources{log: log, garbage: boundGarbage(int64(p.Cache.Memory), log)}
	r.connections.Tight = r.tight.Load
	numbers.Gauge("gateway_connections", "Open connections of clients.", func() float64 {
		open, _ := r.connections.Open()
		return float64(open)
	})
	numbers.Counter("gateway_connections_refused_total", "Connections that were closed because their client had server.max_connections_per_client of them.", func() float64 {
		_, refused := r.connections.Open()
		return float64(refused)
	})
	numbers.Gauge("gateway_memory_scarce", "1 while memory in use is close to its limit (GOMEMLIMIT, or the container's): new connections wait, and upstreams get concurrency.min requests at once.", func() float64 {
		if r.tight.Load() {
			return 1
		}
		return 0
	})
	return r
}

// bound sets the bounds of connections by the policy. believes reports whether a peer speaks for other clients.
func (r *resources) bound(p *policy.Server, believes func(remote string) bool) *wire.Connections {
	c := &r.connections
	c.Most, c.PerClient = cmp.Or(p.MaxConnections, descriptors()/2), p.MaxConnectionsPerClient // the other half is for upstreams
	c.Exempt = func(peer netip.Addr) bool { return peer.IsLoopback() || believes(netip.AddrPortFrom(peer, 0).String()) }
	return c
}

// descriptors is how many there are for connections of clients and to upstreams together.
func descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return max(int(limit.Cur)-descriptorsKept, 2)
}

// watch keeps tight until ctx is done. It looks at what is in use, not at garbage: Go collects that more often
// as it approaches its limit.
func (r *resources) watch(ctx context.Context) {
	limit := debug.SetMemoryLimit(-1)
	switch {
	case r.garbage.bound > 0:
		limit = math.MaxInt64 // that one refuses nothing
	case limit == math.MaxInt64:
		return
	}
	samples := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	for looks := 1; ; looks++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(memoryLook):
		}
		if r.tight.Load() && looks%collectEvery == 0 {
			runtime.GC()
		}
		runtimemetrics.Read(samples)
		live := samples[0].Value.Uint64() + samples[1].Value.Uint64()
		r.garbage.look(int64(live))
		used := float64(live) / float64(limit)
		switch tight := r.tight.Load(); {
		case !tight && used > tightAbove:
			r.tight.Store(true)
			r.log.Warn("memory is scarce: new connections wait, and upstreams get fewer requests", "used", used, "limit", limit)
		case tight && used < tightBelow:
			r.tight.Store(false)
			r.log.Info("memory is no longer scarce", "used", used)
		}
	}
}
