package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
)

// keep forgets peers and remembers the others on disk: news at once, and again
// each second while that fails.
func (p *Peers) keep() {
	const every = time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	saved, failed := p.cfg.Now(), false
	for open := true; open; {
		select {
		case <-tick.C:
		case <-p.news:
		case <-p.ctx.Done():
			open = false
		}
		now := p.cfg.Now()
		if p.forget(now) || now.Sub(saved).Abs() > time.Minute || !open { // after a minute for Seen's sake
			err := p.save()
			if err != nil && !failed { // once, not every second that a disk is full
				p.cfg.Log.Warn("peers are not remembered", "file", p.cfg.File, "error", err)
			}
			saved, failed = now, err != nil
		}
	}
}

// forget drops who was not seen for long, and says whether the file is out of
// date.
func (p *Peers) forget(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.known {
		if now.Sub(o.peerNow().Seen) > p.cfg.Forget {
			p.dropLocked(o)
		}
	}
	return p.changed
}

func (p *Peers) save() error {
	p.mu.Lock()
	p.changed = false
	p.mu.Unlock()
	all := make([]Peer, 0, maxPeers)
	for _, o := range p.outboxes() {
		all = append(all, o.peerNow())
	}
	err := writePeers(p.cfg.File, all)
	if err != nil {
		p.mu.Lock()
		p.changed = true
		p.mu.Unlock()
	}
	return err
}

// readPeers reads the peers remembered in a file; one that is not there has
// none. When they were seen is left out: see New.
func readPeers(name string) ([]Peer, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	var peers []Peer
	if err := json.NewDecoder(io.LimitReader(f, maxBatch)).Decode(&peers); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	for i := range peers {
		peers[i].Seen = time.Time{}
	}
	return peers, nil
}

// writePeers replaces the file by one of these peers.
func writePeers(name string, peers []Peer) error {
	if name == "" {
		return nil
	}
	b, err := json.MarshalIndent(peers, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(atomicfile.OS{}, name, append(b, '\n'))
}
