package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/peers"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

const (
	// hearWait is how long after an outage all gateways have beaten again.
	hearWait = 3 * peers.BeatEvery
	// pullWait is how long a start waits for the records of the other gateways at most.
	pullWait = time.Second
	// peersPurpose is what the peers' key is derived for.
	peersPurpose = "gateway peers"
)

// fleet is this gateway among others: how many there are, and what they tell each other
// without Redis, which only tells them where they are.
type fleet struct {
	*peers.Peers // nil without server.peers
	roll         *peers.Roll
	health       *failover.Switch // of the Redis of the heartbeats; nil: none
	budget       time.Duration    // of a message to all of them
}

// heartbeats are those in a Redis, while its Switch is Up.
type heartbeats struct {
	*failover.Switch
	*redis.Peers
}

// openRoll remembers how many gateways there were.
func (f *fleet) openRoll(live *policy.Live, s *stores, log *slog.Logger) {
	cfg := peers.RollConfig{
		Fixed:  func() int { return int(live.Load().Policy.Redis.Replicas) },
		Purges: func() peers.Position { return peers.Position(s.tags.Position()) },
		File:   filepath.Join(live.Load().Policy.Server.DataDir, "replicas.json"), Log: log,
	}
	if remotes := s.remotes(); len(remotes) > 0 {
		f.health = remotes[0].health
		cfg.Heartbeats = heartbeats{f.health, redis.NewPeers(remotes[0].client, peers.BeatTTL)}
	}
	f.roll = peers.NewRoll(cfg)
}

// Positions implements cache.Fleet.
func (f *fleet) Positions(ctx context.Context) ([]cache.Position, error) {
	if f.health != nil && time.Since(f.health.Status().Since) < hearWait {
		return nil, peers.ErrUnavailable // after an outage the others are still to beat
	}
	others, err := f.roll.Call(ctx)
	known := make([]cache.Position, len(others))
	for i, o := range others {
		known[i] = cache.Position(o.Purges)
	}
	return known, err
}

// listen opens the listener for the other gateways and begins to speak with those that
// are remembered. Without server.peers it does nothing.
func (f *fleet) listen(g *gateway, p *policy.Policy, keys *secrets) error {
	if p.Server.Peers == "" {
		return nil
	}
	shared, err := keys.session.Derive(peersPurpose)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", p.Server.Peers)
	if err != nil {
		return err
	}
	self := peers.Peer{ID: f.roll.ID, Address: peersAddress(p.Server.Peers, l.Addr()), Started: time.Now()}
	f.budget = p.Redis.Budget.Std()
	f.Peers, err = peers.New(peers.Config{
		Keys: shared, File: filepath.Join(p.Server.DataDir, "peers.json"),
		Self: func() peers.Peer {
			now := self
			now.Replicas = f.roll.Replicas()
			return now
		},
		Apply: g.apply, Snapshot: g.durable.journal.Records, Log: g.log,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	f.roll.Meet(f.Peers)
	go func() { // ends with close
		if err := f.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			g.log.Error("the peers' listener failed", "error", err.Error())
		}
	}()
	return nil
}

// peersAddress is where others find this gateway: the host from the policy and the port
// of the listener.
func peersAddress(configured string, l net.Addr) string {
	host, _, _ := net.SplitHostPort(configured) // the policy was checked
	_, port, _ := net.SplitHostPort(l.String())
	return net.JoinHostPort(host, port)
}

// apply applies a peer's records: in memory at once, then durably. New ones are sent to
// Redis too, since the peer may be cut off from it while others use it.
func (g *gateway) apply(ctx context.Context, records []journal.Record) error {
	news := g.durable.journal.News(records)
	if err := g.stores.sessions.Restore(ctx, revocationsOf(news)); err != nil {
		return err
	}
	g.stores.tags.Restore(purgesOf(news))
	return g.durable.append(ctx, keepWait, records)
}

// join says that this gateway lives, and asks the others for what it missed.
func (f *fleet) join(ctx context.Context) {
	_, _ = f.roll.Call(ctx) // Redis may be unavailable
	ctx, cancel := context.WithTimeout(ctx, pullWait)
	defer cancel()
	f.Pull(ctx)
}

// tell brings records to those peers that answer in time, and later to the others.
func (f *fleet) tell(ctx context.Context, records []journal.Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.budget)
	defer cancel()
	f.Send(ctx, records)
}

// conditions are those of the peers; none without server.peers. A peer that is
// unavailable degrades nothing: it may have been taken down. One whose keyring does not
// go with this one's does: sessions that begin here would be unknown there.
func (f *fleet) conditions() []admin.Condition {
	if f.Peers == nil {
		return nil
	}
	known, reached := f.Known(), 0
	c := admin.Condition{Name: "peers"}
	for _, p := range known {
		if p.Reachable {
			reached++
		}
		if p.Keys != "" {
			c.Level = admin.NotReady
			c.Serves = append(c.Serves, p.Address+" "+p.Keys)
		}
	}
	c.Detail = fmt.Sprintf("%d of %d reachable", reached, len(known))
	return []admin.Condition{c}
}

// peerView is a peer in /v1/redis.
type peerView struct {
	ID        string    `json:"id"`
	Address   string    `json:"address"`
	Reachable bool      `json:"reachable"`
	Since     time.Time `json:"since"`
	Seen      time.Time `json:"last_seen"`
	Delivered time.Time `json:"last_delivered,omitzero"`
	Pending   int       `json:"pending"`
	Behind    bool      `json:"needs_everything"`
	Error     string    `json:"error,omitempty"`
}

// view lists the peers, ordered by address; nil without server.peers.
func (f *fleet) view() []peerView {
	if f.Peers == nil {
		return nil
	}
	all := []peerView{}
	for _, p := range f.Known() {
		all = append(all, peerView{p.ID, p.Address, p.Reachable, p.Since, p.Seen, p.Delivered, p.Pending, p.Behind, p.Error})
	}
	return all
}

// numbers is the state of the peers for the metrics.
func (f *fleet) numbers() (all []metrics.Peer) {
	for _, p := range f.Known() {
		all = append(all, metrics.Peer{Address: p.Address, Up: p.Reachable, Pending: p.Pending, Delivered: p.Delivered})
	}
	return all
}
