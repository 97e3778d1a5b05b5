package redis_test

import (
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/peers"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

func TestPeersLearnOfEachOtherWhileTheyBeat(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	client, err := redis.Open(redis.Config{URL: server.URL, Budget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	short, long := redis.NewPeers(client, time.Millisecond), redis.NewPeers(client, time.Hour)
	a := peers.Peer{ID: "a", Address: "10.0.0.1:9902", Started: time.Unix(1, 0).UTC(), Fingerprint: "f", Replicas: 2}
	b := peers.Peer{ID: "b", Address: "10.0.0.2:9902"}
	beat := func(p *redis.Peers, self peers.Peer) []peers.Peer {
		t.Helper()
		others, err := p.Beat(t.Context(), self)
		if err != nil {
			t.Fatal(err)
		}
		return others
	}
	if others := beat(long, a); len(others) != 0 {
		t.Errorf("alone, a sees %v", others)
	}
	if others := beat(long, b); len(others) != 1 || others[0] != a {
		t.Errorf("b sees %v, want %v", others, a)
	}
	beat(short, b)
	time.Sleep(20 * time.Millisecond)
	if others := beat(long, a); len(others) != 0 {
		t.Errorf("a still sees %v, which no longer beats", others)
	}
}
