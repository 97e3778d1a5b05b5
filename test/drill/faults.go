package drill

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
)

// notOwn is why faults are skipped that would harm a Redis in use.
const notOwn = "Redis is not the drill's own"

// proxyFaults returns the faults of a proxy before Redis. For a list of names, proxy may be nil.
func proxyFaults(t env.T, proxy *faultproxy.Proxy) (all []Fault) {
	set := func(f faultproxy.Fault) func() {
		return func() {
			if err := proxy.Set(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	heal := set(faultproxy.Fault{})
	for _, n := range faultproxy.Faults() {
		all = append(all, Fault{Name: n.Name, Description: n.Description, Start: set(n.Fault), End: heal, Steady: n.Steady})
	}
	return append(all, Fault{
		Name: "late", Description: "replies take 30 ms, and every 15th write is refused while others are pending",
		Start: set(faultproxy.Fault{
			Delay:  30 * time.Millisecond,
			Answer: faultproxy.Loading, Only: faultproxy.Writes, Every: 15,
		}),
		End: heal, Late: true,
	})
}

// serverFaults returns the faults of a Redis that is the drill's own. For a list of names, redis may
// be nil.
func serverFaults(redis *env.RedisServer) []Fault {
	return []Fault{
		{
			Name: "emptied", Description: "all keys vanish; nothing else is wrong",
			Start: func() { redis.Do("OK", "FLUSHALL") }, Loss: true,
		},
		{
			Name: "restarted-empty", Description: "the server is killed, and comes back empty",
			Start: func() { redis.Kill() }, End: func() { redis.Restart(true) }, Steady: true, Loss: true,
		},
		{
			Name: "restored-old", Description: "the server is killed, and comes back with data from some seconds before",
			Before: func() { redis.Do("OK", "SAVE") }, Start: func() { redis.Kill() }, End: func() { redis.Restart(false) }, Steady: true, Loss: true,
		},
		{
			Name: "pause-writes", Description: "writes wait; PING and reads are answered",
			Start: func() { redis.Do("OK", "CLIENT", "PAUSE", "60000", "WRITE") }, End: func() { redis.Do("OK", "CLIENT", "UNPAUSE") }, Steady: true,
		},
		{
			Name: "stopped", Description: "the server is frozen, and continues later",
			Start: func() { redis.Stop() }, End: func() { redis.Cont() }, Steady: true,
		},
	}
}

// choose returns the faults with these names, in their order; no names: all.
func choose(all []Fault, names []string) (chosen []Fault, err error) {
	if len(names) == 0 {
		return all, nil
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(f Fault) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown fault %q; see --list", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// shuffled returns the faults in random order.
func shuffled(all []Fault, random *rand.Rand) []Fault {
	all = slices.Clone(all)
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

const (
	// fullBytes is the least maxmemory, in bytes. The part that responses may not take must hold the
	// buffers of all connections.
	fullBytes = 16 << 20
	// fullFrom is the share that is used at first: a few lists below the 80 % at which gateways stop
	// writing responses, so that they do so soon.
	fullFrom = 0.765
	// fullTo is the share that may be used at the end: it includes pending responses and other data.
	fullTo = 0.9
	// fillKey is the key that fills Redis up to fullFrom.
	fillKey = "drill:fill"
	// seenWithin is how long gateways take to notice: they check once a second.
	seenWithin = 3 * time.Second
)

// full plays a Redis that refuses writes beyond its maxmemory, and gets responses until it is nearly
// full. Only the cache may stop writing then: limits and sessions need the rest of the memory.
func full(redis *env.RedisServer) Fault {
	var most, end int64
	return Fault{
		Name: "full", Description: "maxmemory is nearly reached, writes beyond it are refused, and new responses come",
		Before: func() {
			used := memoryOf(redis)
			most = max(fullBytes, 2*used)
			fill := int64(fullFrom*float64(most)) - used
			redis.Do(strconv.FormatInt(fill, 10), "SETRANGE", fillKey, strconv.FormatInt(fill-1, 10), "x")
			redis.Do("OK", "CONFIG", "SET", "maxmemory", strconv.FormatInt(most, 10))
			time.Sleep(seenWithin)
		},
		Start: func() {},
		End: func() {
			end = memoryOf(redis)
			redis.Do("OK", "CONFIG", "SET", "maxmemory", "0")
			redis.Do("OK", "SET", fillKey, "x", "PX", "1")
		},
		Check: func() error {
			if share := float64(end) / float64(most); share > fullTo {
				return fmt.Errorf("responses filled Redis to %.0f %% of its memory, allowed %.0f %%", 100*share, 100*fullTo)
			}
			return nil
		},
		Fill: true, NeverFor: "OOM",
	}
}

// memoryOf returns how many bytes Redis counts against maxmemory.
func memoryOf(redis *env.RedisServer) (bytes int64) {
	for line := range strings.Lines(redis.Do("used_memory:", "INFO", "memory")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseInt(value, 10, 64) // other lines are not numbers
		switch name {
		case "used_memory":
			bytes += n
		case "mem_not_counted_for_evict":
			bytes -= n
		}
	}
	return bytes
}
