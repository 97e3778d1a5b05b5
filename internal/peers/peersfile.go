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

// keep drops forgotten peers and saves the others to the file: changes at once, and every second
// while saving fails.
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
		if p.forget(now) || now.Sub(saved).Abs() > time.Minute || !open { // every minute to save Seen
			err := p.save()
			if err != nil && !failed { // log once, not every second while a disk is full
				p.cfg.Log.Warn("cannot save the peers file", "file", p.cfg.File, "error", err)
			}
			saved, failed = now, err != nil
		}
	}
}

// forget drops peers that have not been seen for long, and reports whether the file is outdated.
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

// readPeers reads the peers remembered in a file; a missing file has none. It clears Seen: see New.
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
	defer func() { _ = f.Close() }() // opened for reading only
	var peers []Peer
	if err := json.NewDecoder(io.LimitReader(f, maxBatch)).Decode(&peers); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	for i := range peers {
		peers[i].Seen = time.Time{}
	}
	return peers, nil
}

// writePeers replaces the file by one with these peers.
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
