// Package peers connects the gateways of a fleet. It finds them through heartbeats in Redis and a
// file of remembered peers. It sends them the records of the journal directly, not through Redis;
// each gateway applies a record and has it on disk before it answers. Records that do not arrive are
// retried, and now and then gateways compare what they hold. They prove to each other that they
// share a key. The meaning of records and the storage of heartbeats are left to other packages.
package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/journal"
)

// Peer is a gateway as other gateways know it.
type Peer struct {
	ID          string    `json:"id"`          // of this run; not empty, at most 128 bytes
	Address     string    `json:"address"`     // host:port of its Handler
	Started     time.Time `json:"started"`     // if two peers have one address, the later one is there
	Fingerprint string    `json:"fingerprint"` // of its keys, the one that it seals with first
	Purges      Position  `json:"purges"`      // how much it knows of the shared table of purges
	Replicas    int       `json:"replicas"`    // how many gateways it believes there are
	Seen        time.Time `json:"seen"`        // when it was last heard from; zero in Learn: now
}

// Position counts the changes that a gateway knows of a table that all share: of the table that
// started from Base the first Seq.
type Position struct {
	Base uint64 `json:"base"`
	Seq  uint64 `json:"seq"`
}

func (p Peer) valid() bool {
	return place(p.Address) != "" && p.ID != "" && len(p.ID) <= 128 && len(p.Address) <= 256 && len(p.Fingerprint) <= 1024
}

// Config configures Peers. Keys, Self, Apply and Snapshot are required.
type Config struct {
	// Keys are shared by all gateways; each has at least 16 bytes. Two gateways need one in common,
	// so a key can be replaced in a running fleet.
	Keys [][]byte
	Self func() Peer // this gateway, as it is now; ID and Address do not change
	File string      // where peers are remembered; "": not at all

	// Apply takes a peer's records into the journal and passes them to their consumers. Records may
	// come any number of times, in any order. After an error, as from a full or degraded journal,
	// the peer sends them again later.
	Apply func(ctx context.Context, records []journal.Record) error
	// Snapshot returns all records in force (Journal.Records).
	Snapshot func() []journal.Record

	PeerTimeout time.Duration // of one message to one peer; 0: 2 s
	HelloEvery  time.Duration // between greetings if there is nothing to send; 0: 5 s
	PullEvery   time.Duration // between comparisons with the peers; 0: 1 min
	Forget      time.Duration // a peer not seen for this long is dropped; 0: 1 h
	Now         func() time.Time
	Log         *slog.Logger // nil: nothing is logged

	wrap func(http.RoundTripper) http.RoundTripper // wraps the client's transport in tests; nil: none
}

func (c Config) withDefaults() Config {
	c.PeerTimeout = cmp.Or(c.PeerTimeout, 2*time.Second)
	c.HelloEvery = cmp.Or(c.HelloEvery, 5*time.Second)
	c.PullEvery = cmp.Or(c.PullEvery, time.Minute)
	c.Forget = cmp.Or(c.Forget, time.Hour)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// maxPeers bounds the known gateways; further ones are ignored.
const maxPeers = 256

// Peers talks to the other gateways; a nil *Peers is a gateway without others. Each of them has a
// goroutine, which sends it what it missed while it was unreachable; Close ends them.
//
// The gateway that creates a record sends it to all others. They apply it and do not pass it on. If
// the sender dies half-way, or a peer misses too much, a comparison repairs that: a gateway that is
// new to another is sent everything, and every PullEvery each gateway asks the others whether they
// hold the same.
//
// Messages are encrypted, and each end knows that the other has a key in common with it (see
// identity). The heartbeats' store can name any address, but learns nothing by that.
type Peers struct {
	cfg      Config
	identity identity
	client   *http.Client
	slots    chan struct{} // one element for each request being served

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	news   chan struct{} // wakes keep when changed becomes true; capacity 1
	server *http.Server  // of Serve

	mu sync.Mutex // guards what follows
	// known is by ID; no two peers are at the same place.
	known   map[string]*outbox
	changed bool // since the file was written
	closed  bool
}

// lately is how long after it was last seen a peer still counts as alive.
const lately = 10 * time.Second

// maxRequests bounds the requests served at a time; a pull may be long.
const maxRequests = 64

// New returns Peers that know those in the file, as if just seen, so that a fleet that starts
// together after a long time finds itself without any store.
func New(cfg Config) (*Peers, error) {
	cfg = cfg.withDefaults()
	identity, err := newIdentity(cfg.Keys)
	if err != nil {
		return nil, err
	}
	if self := cfg.Self(); !self.valid() {
		return nil, fmt.Errorf("gateway %q cannot be a peer on address %q", self.ID, self.Address)
	}
	p := &Peers{
		cfg:      cfg,
		identity: identity,
		slots:    make(chan struct{}, maxRequests),
		news:     make(chan struct{}, 1),
		known:    map[string]*outbox{},
	}
	p.client, p.server = p.newClient(), p.newServer()
	p.ctx, p.cancel = context.WithCancel(context.Background())
	remembered, err := readPeers(cfg.File)
	if err != nil {
		cfg.Log.Warn("cannot read the peers file", "file", cfg.File, "error", err)
	}
	p.Learn(remembered)
	p.wg.Go(p.keep)
	p.wg.Go(p.compare)
	return p, nil
}

// Self is this gateway as it announces itself.
func (p *Peers) Self() Peer {
	self := p.cfg.Self()
	self.Fingerprint = strings.Join(p.identity.names, " ")
	return self
}

// Learn adds peers, as from heartbeats. Peers that are not listed stay known. This gateway itself,
// and its earlier runs, are ignored.
func (p *Peers) Learn(peers []Peer) {
	if p == nil {
		return
	}
	self, now := p.cfg.Self(), p.cfg.Now()
	here := place(self.Address)
	refused := 0
	p.mu.Lock()
	for _, peer := range peers {
		if peer.Seen.IsZero() || peer.Seen.After(now) {
			peer.Seen = now
		}
		if peer.ID == self.ID || place(peer.Address) == here || now.Sub(peer.Seen) > p.cfg.Forget || p.closed {
			continue
		}
		if !peer.valid() || !p.learnLocked(peer) {
			refused++
		}
	}
	p.mu.Unlock()
	if refused > 0 {
		p.cfg.Log.Warn("ignored peers that are malformed or too many", "count", refused)
	}
}

func (p *Peers) learnLocked(peer Peer) bool {
	for _, o := range p.known {
		other, at := o.whereNow()
		if at != place(peer.Address) || other.ID == peer.ID {
			continue
		}
		if !peer.Started.After(other.Started) {
			return true // an older run of a known gateway
		}
		p.dropLocked(o)
	}
	if o, ok := p.known[peer.ID]; ok {
		if o.update(peer) {
			p.changedLocked()
		}
		return true
	}
	if len(p.known) >= maxPeers {
		return false
	}
	ctx, cancel := context.WithCancel(p.ctx)
	o := &outbox{
		peers: p, cancel: cancel, wake: make(chan struct{}, 1), telling: make(chan struct{}, maxTelling),
		peer: peer, place: place(peer.Address), all: true, since: p.cfg.Now(),
	}
	p.known[peer.ID] = o
	p.changedLocked()
	p.wg.Go(func() { o.run(ctx) })
	return true
}

// begin runs f in a goroutine that Close waits for. It returns false if p is closed.
func (p *Peers) begin(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.wg.Go(f)
	}
	return !p.closed
}

func (p *Peers) dropLocked(o *outbox) {
	if id := o.peerNow().ID; p.known[id] == o {
		delete(p.known, id)
		p.changedLocked()
	}
	o.cancel()
}

func (p *Peers) drop(o *outbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropLocked(o)
}

// changedLocked has the peers saved now, so that a process that is killed knows them in its next
// run.
func (p *Peers) changedLocked() {
	p.changed = true
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// heard records that a peer has just sent something: if it was unreachable, it is back.
func (p *Peers) heard(peer Peer) {
	peer.Seen = p.cfg.Now()
	p.Learn([]Peer{peer})
	p.mu.Lock()
	o := p.known[peer.ID]
	p.mu.Unlock()
	if o != nil {
		o.revive()
	}
}

func (p *Peers) outboxes() []*outbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*outbox, 0, len(p.known))
	for _, o := range p.known {
		all = append(all, o)
	}
	return all
}

// PeerStatus is a peer's state, for display.
type PeerStatus struct {
	Peer
	Reachable bool
	Since     time.Time // when it became reachable or unreachable
	Delivered time.Time // when it last applied records of this gateway; zero: never
	Pending   int       // records waiting for it
	Behind    bool      // it must be sent everything, since it is new or missed too much
	Error     string    // of the last message, if it failed
	Keys      string    // the problem between its keys and ours; "": none, or it was not seen lately
}

// Known returns the state of all peers, ordered by address.
func (p *Peers) Known() []PeerStatus {
	if p == nil {
		return nil
	}
	var all []PeerStatus
	for _, o := range p.outboxes() {
		s := o.status()
		if p.cfg.Now().Sub(s.Seen) < lately {
			s.Keys = p.identity.mismatch(s.Fingerprint)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.Address, b.Address) })
	return all
}

// Send sends records, which must already be in Snapshot, to all peers at the same time. It returns
// when all have applied them or failed, or when ctx ends. A peer that did not answer the last
// message counts as failed at once, so an unreachable one delays only the first of many calls.
// Failed records are retried until they arrive.
func (p *Peers) Send(ctx context.Context, records []journal.Record) (reached, failed []Peer) {
	if p == nil {
		return nil, nil
	}
	normal := make([]journal.Record, 0, len(records))
	for _, r := range records {
		n, err := r.Normal()
		if err != nil {
			p.cfg.Log.Error("cannot send a record", "kind", r.Kind, "error", err)
			continue
		}
		normal = append(normal, n)
	}
	all := p.outboxes()
	took := make([]bool, len(all))
	var wg sync.WaitGroup
	for i, o := range all {
		wg.Go(func() { took[i] = o.tell(ctx, normal) })
	}
	wg.Wait()
	for i, o := range all {
		if took[i] {
			reached = append(reached, o.peerNow())
		} else {
			failed = append(failed, o.peerNow())
		}
	}
	return reached, failed
}

// Pull merges the records of every peer, through Apply. A starting gateway calls it before it is
// ready. ctx bounds it.
func (p *Peers) Pull(ctx context.Context) (reached, failed []Peer) {
	if p == nil {
		return nil, nil
	}
	all := p.outboxes()
	if len(all) == 0 {
		return nil, nil
	}
	held := digest(p.cfg.Snapshot())
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, o := range all {
		wg.Go(func() { errs[i] = p.pull(ctx, o.peerNow(), held) })
	}
	wg.Wait()
	for i, o := range all {
		peer := o.peerNow()
		if errs[i] == nil {
			reached = append(reached, peer)
			continue
		}
		failed = append(failed, peer)
		p.cfg.Log.Warn("cannot merge a peer's records", "peer", peer.ID, "address", peer.Address, "error", errs[i])
	}
	return reached, failed
}

// compare compares the records with every peer now and then.
func (p *Peers) compare() {
	for sleep(p.ctx, nil, jitter(p.cfg.PullEvery)) {
		ctx, cancel := context.WithTimeout(p.ctx, p.cfg.PullEvery)
		p.Pull(ctx)
		cancel()
	}
}

// Close ends Serve and everything else that Peers do. It does not wait for records
// that were not delivered yet: a peer gets them from another gateway, or from the next
// run of this one.
func (p *Peers) Close() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return errors.New("peers are closed already")
	}
	_ = p.server.Close() // its listener is all that can fail to close
	p.cancel()
	p.wg.Wait()
	p.client.CloseIdleConnections()
	return nil
}
