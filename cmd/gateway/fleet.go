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
	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/peers"
	"github.com/jewgo/gateway/policy"
)

const (
	// beatEvery is how often a gateway tells in Redis where it is; one that did
	// not for beatTTL is not told of.
	beatEvery = time.Second
	beatTTL   = 5 * time.Second
	// pullWait is how long a start waits for what the others hold at most.
	pullWait = time.Second
	// What an end that proves nothing may take of the peers' listener. A peer
	// that does gets the time that its answer needs from the Handler.
	peersHeader      = 5 * time.Second
	peersRead        = 10 * time.Second
	peersIdle        = time.Minute
	peersHeaderBytes = 16 << 10
	// peersPurpose is what the peers' key is derived for.
	peersPurpose = "gateway peers"
)

// fleet is this gateway among others: what one keeps reaches the others without
// Redis, which only tells them where they are. A nil fleet is a gateway alone.
type fleet struct {
	peers  *peers.Peers
	budget time.Duration // of a Send
	server *http.Server
}

// openFleet listens for the peers and begins to speak with those that are
// remembered; nil without server.peers.
func openFleet(g *gateway, p *policy.Policy, keys *secrets, log *slog.Logger) (*fleet, error) {
	if p.Server.Peers == "" {
		return nil, nil
	}
	shared, err := keys.session.Derive(peersPurpose)
	if err != nil {
		return nil, fmt.Errorf("server.peers: %w", err)
	}
	l, err := net.Listen("tcp", p.Server.Peers)
	if err != nil {
		return nil, fmt.Errorf("server.peers: %w", err)
	}
	self := peers.Peer{
		ID: g.roll.id, Address: peersAddress(p.Server.Peers, l.Addr()), Started: time.Now(),
	}
	f := &fleet{budget: p.Redis.Budget.Std()}
	f.peers, err = peers.New(peers.Config{
		Keys: shared, File: filepath.Join(p.Server.DataDir, "peers.json"),
		Self: func() peers.Peer {
			now := self
			now.Replicas = g.roll.replicas()
			return now
		},
		Apply: g.apply, Snapshot: g.durable.journal.Records, Log: log,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("server.peers: %w", err), l.Close())
	}
	f.server = &http.Server{
		Handler:           f.peers.Handler(),
		TLSConfig:         f.peers.TLSConfig(),
		ReadHeaderTimeout: peersHeader, ReadTimeout: peersRead, IdleTimeout: peersIdle, MaxHeaderBytes: peersHeaderBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() { // ends with close
		if err := f.server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the peers' listener broke", "error", err.Error())
		}
	}()
	return f, nil
}

// peersAddress is where others find this gateway: the host as the policy says
// it, and the port that it got.
func peersAddress(configured string, l net.Addr) string {
	host, _, _ := net.SplitHostPort(configured) // the policy was checked
	_, port, _ := net.SplitHostPort(l.String())
	return net.JoinHostPort(host, port)
}

// apply takes in what a peer says: here at once, then durably. What is news is
// repeated to Redis, from which the peer may be cut off while others use it.
func (g *gateway) apply(ctx context.Context, records []journal.Record) error {
	news := g.durable.journal.News(records)
	if err := g.stores.sessions.Restore(ctx, revocationsOf(news)); err != nil {
		return err
	}
	g.stores.tags.Restore(purgesOf(news))
	return g.durable.append(ctx, keepWait, records)
}

// catchUp asks the peers for what this gateway missed while it was not there.
func (f *fleet) catchUp(ctx context.Context) {
	if f == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pullWait)
	defer cancel()
	f.peers.Pull(ctx)
}

// learn takes in who lives, by Redis.
func (f *fleet) learn(others []peers.Peer) {
	if f == nil {
		return
	}
	var spoken []peers.Peer
	for _, o := range others {
		if o.Address != "" {
			spoken = append(spoken, o)
		}
	}
	f.peers.Learn(spoken)
}

// size is how many gateways there are, as those who answer say it.
func (f *fleet) size() int {
	if f == nil {
		return 1
	}
	n, most := 1, 1
	for _, p := range f.peers.Known() {
		if p.Reachable {
			n, most = n+1, max(most, p.Replicas)
		}
	}
	return max(n, most)
}

// send brings records to those peers that answer in time, and to the others
// when they do.
func (f *fleet) send(ctx context.Context, records []journal.Record) {
	if f == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.budget)
	defer cancel()
	f.peers.Send(ctx, records)
}

// conditions tell of the peers; none without them. One that is away degrades
// nothing: it may have been taken down. One whose keyring does not go with this one's
// does: sessions that begin here would be none there.
func (f *fleet) conditions() []admin.Condition {
	if f == nil {
		return nil
	}
	known, reached := f.peers.Known(), 0
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

// view lists the peers, ordered by address; nil is a gateway without peers.
func (f *fleet) view() []peerView {
	if f == nil {
		return nil
	}
	known := f.peers.Known()
	all := make([]peerView, len(known))
	for i, p := range known {
		all[i] = peerView{p.ID, p.Address, p.Reachable, p.Since, p.Seen, p.Delivered, p.Pending, p.Behind, p.Error}
	}
	return all
}

// numbers are what the metrics tell of the peers.
func (f *fleet) numbers() []metrics.Peer {
	if f == nil {
		return nil
	}
	var all []metrics.Peer
	for _, p := range f.peers.Known() {
		all = append(all, metrics.Peer{Address: p.Address, Up: p.Reachable, Pending: p.Pending, Delivered: p.Delivered})
	}
	return all
}

// close ends everything that openFleet started. A disk that hangs, under the
// file of the peers, cannot keep the process.
func (f *fleet) close(log *slog.Logger) {
	if f == nil {
		return
	}
	_ = f.server.Close() // its listener is all that can fail to close
	ended := make(chan struct{})
	go func() { // ends with the disk's answer, or the process
		defer close(ended)
		_ = f.peers.Close() // what it could not write down it learns again
	}()
	select {
	case <-ended:
	case <-time.After(closeWait):
		log.Error("the peers' disk does not answer, leaving it")
	}
}
