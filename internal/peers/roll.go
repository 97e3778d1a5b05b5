package peers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
)

// BeatEvery is how often a gateway says that it lives. One that has not done so for BeatTTL is dead.
const (
	BeatEvery = time.Second
	BeatTTL   = 5 * BeatEvery
)

// Heartbeats is where gateways find each other.
type Heartbeats interface {
	// Up reports whether Beat is worth a try.
	Up() bool
	// Beat says that self lives and returns the others that do. ctx bounds it.
	Beat(ctx context.Context, self Peer) ([]Peer, error)
}

// Roll is the roll call of the gateways that share one Redis. Each beats there once in
// BeatEvery. So they find each other, and know how many share the limits. That number
// outlives Redis and the process.
type Roll struct {
	ID    string // of this run
	cfg   RollConfig
	peers *Peers // see Meet
	count Replicas

	mu   sync.Mutex
	seen map[string]Peer // the others, by ID, until BeatTTL after their last beat; guarded by mu
}

// RollConfig configures a Roll. Everything but Heartbeats is required.
type RollConfig struct {
	Heartbeats Heartbeats      // nil: there is no Redis
	Fixed      func() int      // how many gateways the operator says there are; 0: they are counted
	Purges     func() Position // of this gateway
	File       string          // where the number of gateways is kept
	Log        *slog.Logger
}

// rollFile is what the file holds.
type rollFile struct {
	Replicas int `json:"replicas"`
}

// NewRoll returns a roll call that begins with the number of gateways in the file.
func NewRoll(cfg RollConfig) *Roll {
	r := &Roll{ID: rand.Text(), cfg: cfg}
	text, err := os.ReadFile(cfg.File)
	var remembered rollFile
	if err == nil {
		err = json.Unmarshal(text, &remembered)
	}
	if err != nil && !os.IsNotExist(err) {
		cfg.Log.Warn("the remembered number of gateways cannot be read, counting from one", "error", err.Error())
	}
	r.count.Believe(remembered.Replicas)
	return r
}

// Meet has the roll call introduce the gateways that it finds to p. It is called before
// Run, if at all.
func (r *Roll) Meet(p *Peers) { r.peers = p }

// Replicas is how many gateways share the limits while Redis is unavailable, at least 1.
func (r *Roll) Replicas() int {
	if n := r.cfg.Fixed(); n > 0 {
		return n
	}
	return r.count.Count()
}

// Run calls the roll each BeatEvery until ctx is done.
func (r *Roll) Run(ctx context.Context) {
	if r.cfg.Heartbeats == nil {
		return
	}
	ticks := time.NewTicker(BeatEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			_, _ = r.Call(ctx) // the Redis's Switch reports failures, and known peers stay known
		}
	}
}

// ErrUnavailable says that heartbeats cannot be asked for now.
var ErrUnavailable = errors.New("heartbeats are unavailable")

// Call beats once, counts the others, and returns those that beat within BeatTTL, also if Redis has
// evicted their beats since; none without Redis. While Redis is unavailable it counts those peers
// that answer: there may be more of them than this gateway knew.
func (r *Roll) Call(ctx context.Context) ([]Peer, error) {
	switch {
	case r.cfg.Heartbeats == nil:
		return nil, nil
	case !r.cfg.Heartbeats.Up():
		r.keep(r.count.Believe(r.peers.size()))
		return nil, ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(ctx, BeatEvery)
	defer cancel()
	self := Peer{ID: r.ID}
	if r.peers != nil {
		self = r.peers.Self()
	}
	self.Replicas, self.Purges = r.Replicas(), r.cfg.Purges()
	others, err := r.cfg.Heartbeats.Beat(ctx, self)
	if err != nil {
		return nil, err
	}
	r.keep(r.count.See(1+len(others), time.Now()))
	// Those without an address count, and are not spoken with.
	r.peers.Learn(slices.DeleteFunc(slices.Clone(others), func(p Peer) bool { return p.Address == "" }))
	return r.live(others, time.Now()), nil
}

func (r *Roll) live(others []Peer, now time.Time) []Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]Peer{}
	}
	for _, p := range others {
		p.Seen = now
		r.seen[p.ID] = p
	}
	maps.DeleteFunc(r.seen, func(_ string, p Peer) bool { return now.Sub(p.Seen) > BeatTTL })
	return slices.Collect(maps.Values(r.seen))
}

// keep writes the number to the file, if it has changed.
func (r *Roll) keep(changed bool) {
	if !changed {
		return
	}
	text, err := json.Marshal(rollFile{r.count.Count()})
	if err == nil {
		err = atomicfile.Replace(atomicfile.OS{}, r.cfg.File, append(text, '\n'))
	}
	if err != nil {
		r.cfg.Log.Warn("the number of gateways cannot be written to disk", "error", err.Error())
	}
}

// size is how many gateways there are, as those who answer say it.
func (p *Peers) size() int {
	n, most := 1, 1
	for _, peer := range p.Known() {
		if peer.Reachable {
			n, most = n+1, max(most, peer.Replicas)
		}
	}
	return max(n, most)
}
