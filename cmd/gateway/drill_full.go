package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jewgo/gateway/internal/redisdb"
	"github.com/jewgo/gateway/test/drill"
)

const (
	// fullBytes is the least maxmemory of a Redis that responses would fill. What
	// they may not take must hold the buffers of all connections.
	fullBytes = 16 << 20
	// fullFrom is how full it is at first: a few lists short of the 80 % at which
	// writing responses stops, so that it does so at once.
	fullFrom = 0.765
	// fullTo is what it may reach: responses that were under way, and the rest.
	fullTo = 0.9
	// fillKey is what fills it that far.
	fillKey = "drill:fill"
)

// drillFilling plays a Redis that has a maxmemory, refuses writes beyond it, and is
// sent responses until it would be full. That is the cache's matter alone: limits
// and sessions need the room that is left.
type drillFilling struct {
	site  *drillSite
	redis *ownRedis

	fill  *drill.Mix
	most  int64 // maxmemory
	found error // at the end
}

func (f *drillFilling) scenario() drill.Scenario {
	return drill.Scenario{
		Prepare: f.prepare, Start: func() error { return nil }, End: f.end, Check: func() error { return f.found },
		More: func() *drill.Mix { return f.fill },
	}
}

// prepare bounds the Redis, fills it, and waits until the gateway has seen that.
func (f *drillFilling) prepare() ([]drill.Gateway, func(), error) {
	if f.fill == nil { // once, so that no list is asked for twice
		f.fill = drill.NewMix(shownURL(f.site.first.servers.dataListener), "", f.site.seed)
	}
	used, err := f.used()
	if err != nil {
		return nil, nil, err
	}
	f.most = max(fullBytes, 2*used)
	for _, c := range []struct{ command, want string }{
		{fmt.Sprintf("SETRANGE %s %d x", fillKey, int64(fullFrom*float64(f.most))-used-1), fmt.Sprintf(":%d", int64(fullFrom*float64(f.most))-used)},
		{"CONFIG SET maxmemory-policy noeviction", "+OK"},
		{fmt.Sprintf("CONFIG SET maxmemory %d", f.most), "+OK"},
	} {
		if err := f.redis.command(c.command, c.want); err != nil {
			return nil, nil, err
		}
	}
	for range 100 {
		if share, _ := f.site.first.g.stores.redis.guard.Full(); share > 0 {
			break
		}
		time.Sleep(fillEvery / 50)
	}
	return nil, func() { _ = f.heal() }, nil // a drill that goes on finds out
}

// end looks how full the Redis has become, and takes the bound away.
func (f *drillFilling) end() error {
	used, err := f.used()
	if err != nil {
		return err
	}
	f.found = nil
	if share := float64(used) / float64(f.most); share > fullTo {
		f.found = fmt.Errorf("responses filled Redis to %.0f %% of its memory, allowed %.0f %%", 100*share, 100*fullTo)
	}
	return f.heal()
}

// used is how many bytes the Redis counts against maxmemory.
func (f *drillFilling) used() (bytes int64, err error) {
	ctx, cancel := context.WithTimeout(f.site.ctx, commandTime)
	defer cancel()
	info, err := redisdb.InspectMemory(ctx, f.site.first.g.stores.redis.client)
	if err != nil {
		return 0, err
	}
	for _, s := range info.Servers {
		if s.Memory != nil {
			bytes += s.Memory.UsedBytes
		}
	}
	return bytes, nil
}

func (f *drillFilling) heal() error {
	if err := f.redis.command("CONFIG SET maxmemory 0", "+OK"); err != nil {
		return err
	}
	return f.redis.command("SET "+fillKey+" x PX 1", "+OK")
}
