package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/peers"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
)

// roll is the roll call of the gateways on one Redis. Each says there, once in
// beatEvery, that it lives and where; so they find each other, and know how many
// share the limits. That number outlives Redis and the process.
type roll struct {
	live   *policy.Live
	beats  *redis.Peers     // nil: no Redis
	health *failover.Switch // of it
	id     string           // of this run
	fleet  *fleet           // nil: this gateway does not speak with the others
	count  ratelimit.Replicas
	file   string
	log    *slog.Logger
}

// believed is what the file holds.
type believed struct {
	Replicas int `json:"replicas"`
}

// openRoll remembers how many gateways there were. r may be nil.
func openRoll(live *policy.Live, r *remote, log *slog.Logger) *roll {
	c := &roll{live: live, id: rand.Text(), file: filepath.Join(live.Load().Policy.Server.DataDir, "replicas.json"), log: log}
	if r != nil {
		c.beats, c.health = redis.NewPeers(r.client, beatTTL), r.health
	}
	text, err := os.ReadFile(c.file)
	var b believed
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil && !os.IsNotExist(err) {
		log.Warn("how many gateways there were is not known", "error", err.Error())
	}
	c.count.Believe(b.Replicas)
	return c
}

// replicas is how many gateways share the limits while Redis is away.
func (c *roll) replicas() int {
	if n := int(c.live.Load().Policy.Redis.Replicas); n > 0 {
		return n
	}
	return c.count.Count()
}

// self is this gateway as it tells of itself.
func (c *roll) self() peers.Peer {
	if c.fleet != nil {
		return c.fleet.peers.Self()
	}
	return peers.Peer{ID: c.id, Replicas: c.replicas()}
}

// run calls the roll until ctx is done.
func (c *roll) run(ctx context.Context) {
	if c.beats == nil {
		return
	}
	ticks := time.NewTicker(beatEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			c.call(ctx)
		}
	}
}

// call tells of this gateway and counts the others: in Redis, or while that is
// away those that it speaks with, of which there may be more than it knew.
func (c *roll) call(ctx context.Context) {
	if c.beats == nil {
		return
	}
	if !c.health.Up() {
		c.keep(c.count.Believe(c.fleet.size()))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	others, err := c.beats.Beat(ctx, c.self())
	if err != nil {
		return // the Switch tells of a Redis that fails; who is known stays so
	}
	c.keep(c.count.See(1+len(others), time.Now()))
	c.fleet.learn(others)
}

// keep writes the number down, if it has changed.
func (c *roll) keep(changed bool) {
	if !changed {
		return
	}
	text, err := json.Marshal(believed{c.count.Count()})
	if err == nil {
		err = atomicfile.Replace(atomicfile.OS{}, c.file, append(text, '\n'))
	}
	if err != nil {
		c.log.Warn("how many gateways there are could not be written down", "error", err.Error())
	}
}
