package redis_test

import (
	"testing"

	"github.com/jewgo/gateway/internal/store/redis"
)

func TestGuard(t *testing.T) {
	node := func(used, most int64, policy string) redis.Server {
		return redis.Server{Numbers: redis.Numbers{Memory: &redis.Memory{UsedBytes: used, MaxBytes: most, Policy: policy}}}
	}
	for _, tt := range []struct {
		says   string
		shared bool
		bound  int64
		looks  [][]redis.Server // one after the other
		full   bool
		takes  int // bytes that may then be written
	}{
		{says: "nothing is known", takes: 1 << 30},
		{says: "no maxmemory", looks: [][]redis.Server{{node(1000, 0, "noeviction")}}, shared: true, takes: 1 << 30},
		{says: "half full", looks: [][]redis.Server{{node(500, 1000, "noeviction")}}, takes: 150},
		{says: "at four fifths", looks: [][]redis.Server{{node(800, 1000, "noeviction")}}, full: true},
		{says: "full until it is at seven tenths", looks: [][]redis.Server{{node(800, 1000, "noeviction")}, {node(710, 1000, "noeviction")}}, full: true},
		{says: "below seven tenths it is no longer full", looks: [][]redis.Server{{node(800, 1000, "noeviction")}, {node(690, 1000, "noeviction")}}, takes: 55},
		{says: "it would evict only responses", looks: [][]redis.Server{{node(999, 1000, "allkeys-lru")}}, takes: 1 << 30},
		{says: "it would evict sessions too", shared: true, looks: [][]redis.Server{{node(999, 1000, "allkeys-lru")}}, full: true},
		{says: "bounded by the policy file", bound: 1000, looks: [][]redis.Server{{node(850, 0, "allkeys-lru")}}, full: true},
		{says: "the fullest node counts", looks: [][]redis.Server{{node(100, 1000, "noeviction"), node(900, 1000, "noeviction"), {Error: "away"}}}, full: true},
	} {
		t.Run(tt.says, func(t *testing.T) {
			g := redis.Guard{Shared: tt.shared, Bound: tt.bound}
			for _, servers := range tt.looks {
				g.Look(redis.Info{Servers: servers})
			}
			if _, full := g.Full(); full != tt.full {
				t.Errorf("full: %v", full)
			}
			if g.Take(tt.takes+1) && tt.takes < 1<<30 || tt.takes > 0 && !g.Take(tt.takes) {
				t.Errorf("it does not take exactly %d bytes", tt.takes)
			}
			if tt.takes > 0 && tt.takes < 1<<30 && g.Take(1) {
				t.Error("and once more")
			}
		})
	}
}
