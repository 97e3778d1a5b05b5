package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// readPeers reads the peers remembered in a file; one that is not there has
// none. When they were seen is left out: see NewPeers.
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

// writePeers puts peers into a file that only its owner reads, whole or not at
// all.
func writePeers(name string, peers []Peer) error {
	if name == "" {
		return nil
	}
	b, err := json.MarshalIndent(peers, "", "  ")
	if err != nil {
		return err
	}
	fresh := name + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(fresh, name)
	}
	if err != nil {
		_ = os.Remove(fresh) // it is worth nothing
		return err
	}
	return osFiles{}.syncDir(filepath.Dir(name))
}
