package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/peers"
)

// peersTable is the hash of gateways that live, by ID: when the entry ends, by
// the server's clock in Unix milliseconds, and the Peer in JSON.
const peersTable = "gw:{peers}"

//go:embed peers.lua
var peersSource string

var peersScript = redis.NewScript(peersSource)

// Peers is the list of gateways that live, in Redis. Nothing secret is in it,
// and what it says is only where to look: peers prove themselves to each other.
type Peers struct {
	client redis.UniversalClient
	ttl    time.Duration
}

// NewPeers returns the list on the client, which the caller closes. A gateway
// that has not beaten for ttl is left out.
func NewPeers(client redis.UniversalClient, ttl time.Duration) *Peers { return &Peers{client, ttl} }

// Beat tells that self lives and returns the others, in one round trip.
func (p *Peers) Beat(ctx context.Context, self peers.Peer) ([]peers.Peer, error) {
	text, err := json.Marshal(self)
	if err != nil {
		return nil, fmt.Errorf("tell of this gateway: %w", err)
	}
	said, err := peersScript.Run(ctx, p.client, []string{peersTable}, self.ID, p.ttl.Milliseconds(), text).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("tell of this gateway: %w", err)
	}
	others := make([]peers.Peer, 0, len(said))
	for _, s := range said {
		var other peers.Peer
		if json.Unmarshal([]byte(s), &other) != nil {
			continue // of another version
		}
		other.Seen = time.Time{} // zero is now, by the clock of whoever reads this
		others = append(others, other)
	}
	return others, nil
}
