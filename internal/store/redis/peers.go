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

// peersTable is the hash of live gateways by ID. A value is the entry's end, in Unix milliseconds
// by the server's clock, and the Peer in JSON.
const peersTable = "gw:{peers}"

//go:embed peers.lua
var peersSource string

var peersScript = redis.NewScript(peersSource)

// Peers is the list of live gateways in Redis. It holds no secrets and only says where to look:
// peers authenticate each other.
type Peers struct {
	client redis.UniversalClient
	ttl    time.Duration
}

// NewPeers returns the list on the client, which the caller closes. A gateway without a Beat for
// ttl is left out.
func NewPeers(client redis.UniversalClient, ttl time.Duration) *Peers { return &Peers{client, ttl} }

// Beat announces that self is alive and returns the other gateways, in one round trip.
func (p *Peers) Beat(ctx context.Context, self peers.Peer) ([]peers.Peer, error) {
	text, err := json.Marshal(self)
	if err != nil {
		return nil, fmt.Errorf("announce this gateway: %w", err)
	}
	said, err := peersScript.Run(ctx, p.client, []string{peersTable}, self.ID, p.ttl.Milliseconds(), text).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("announce this gateway: %w", err)
	}
	others := make([]peers.Peer, 0, len(said))
	for _, s := range said {
		var other peers.Peer
		if json.Unmarshal([]byte(s), &other) != nil {
			continue // written by another version
		}
		other.Seen = time.Time{} // zero means now, by the reader's clock
		others = append(others, other)
	}
	return others, nil
}
