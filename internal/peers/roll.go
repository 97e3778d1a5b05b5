package peers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
)

// BeatEvery is how often a gateway says that it lives.
const BeatEvery = time.Second

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
	beats Heartbeats
	peers *Peers // see Meet
	count Replicas
	fixed func() int
	file  string
	log   *slog.Logger
}

// rollFile is what the file holds.
type rollFile struct {
	Replicas int `json:"replicas"`
}

// NewRoll returns the roll call on beats, which is nil where there is no Redis. fixed
// gives the number of gateways where the operator has set one, else 0. The number that
// was counted is kept in file.
func NewRoll(beats Heartbeats, fixed func() int, file string, log *slog.Logger) *Roll {
	r := &Roll{ID: rand.Text(), beats: beats, fixed: fixed, file: file, log: log}
	text, err := os.ReadFile(file)
	var remembered rollFile
	if err == nil {
		err = json.Unmarshal(text, &remembered)
	}
	if err != nil && !os.IsNotExist(err) {
		log.Warn("the remembered number of gateways cannot be read, counting from one", "error", err.Error())
	}
	r.count.Believe(remembered.Replicas)
	return r
}

// Meet has the roll call introduce the gateways that it finds to p. It is called before
// Run, if at all.
func (r *Roll) Meet(p *Peers) { r.peers = p }

// Replicas is how many gateways share the limits while Redis is unavailable, at least 1.
func (r *Roll) Replicas() int {
	if n := r.fixed(); n > 0 {
		return n
	}
	return r.count.Count()
}

// Run calls the roll each BeatEvery until ctx is done.
func (r *Roll) Run(ctx context.Context) {
	if r.beats == nil {
		return
	}
	ticks := time.NewTicker(BeatEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			r.Call(ctx)
		}
	}
}

// Call beats once and counts the others. While Redis is unavailable it counts those
// peers that answer: there may be more of them than this gateway knew.
func (r *Roll) Call(ctx context.Context) {
	switch {
	case r.beats == nil:
		return
	case !r.beats.Up():
		r.keep(r.count.Believe(r.peers.size()))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, BeatEvery)
	defer cancel()
	self := Peer{ID: r.ID, Replicas: r.Replicas()}
	if r.peers != nil {
		self = r.peers.Self()
	}
	others, err := r.beats.Beat(ctx, self)
	if err != nil {
		return // the Redis's Switch reports the failure, and known peers stay known
	}
	r.keep(r.count.See(1+len(others), time.Now()))
	// Those without an address count, and are not spoken with.
	r.peers.Learn(slices.DeleteFunc(others, func(p Peer) bool { return p.Address == "" }))
}

// keep writes the number to the file, if it has changed.
func (r *Roll) keep(changed bool) {
	if !changed {
		return
	}
	text, err := json.Marshal(rollFile{r.count.Count()})
	if err == nil {
		err = atomicfile.Replace(atomicfile.OS{}, r.file, append(text, '\n'))
	}
	if err != nil {
		r.log.Warn("the number of gateways cannot be written to disk", "error", err.Error())
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
