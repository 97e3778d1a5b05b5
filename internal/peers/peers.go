// Package peers is the other gateways: who they are, which their heartbeats in Redis
// tell and a file remembers, and what they are told without Redis: the records of the
// journal, that each applies and has on disk before it answers. A record that does not
// arrive is tried again; now and then gateways compare what they hold. They prove to
// each other that they share a key. What records mean, and where heartbeats are kept,
// is left to others.
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

// Peer is a gateway as others know it.
type Peer struct {
	ID          string    `json:"id"`          // of this run; not empty, at most 128 bytes
	Address     string    `json:"address"`     // host:port on which it takes what peers say
	Started     time.Time `json:"started"`     // of two on one address the later is there
	Fingerprint string    `json:"fingerprint"` // of its keys, the one that it seals with first
	Replicas    int       `json:"replicas"`    // how many gateways it believes there are
	Seen        time.Time `json:"seen"`        // when it was last heard of; zero, where one is told of it: now
}

func (p Peer) valid() bool {
	return place(p.Address) != "" && p.ID != "" && len(p.ID) <= 128 && len(p.Address) <= 256 && len(p.Fingerprint) <= 1024
}

// Config configures Peers. Keys, Self, Apply and Snapshot are required.
type Config struct {
	// Keys are what all gateways share, each of at least 16 bytes. Two gateways need
	// one in common, so that a key can be replaced in a fleet that works.
	Keys [][]byte
	Self func() Peer // this gateway, as it is now; ID and Address do not change
	File string      // where peers are remembered; "": nowhere

	// Apply takes in what a peer sent: brings it to the journal and to those
	// who act on it. Records may come any number of times, in any order. An
	// error, as from a journal that is full or degraded, makes the peer send
	// them again later.
	Apply func(ctx context.Context, records []journal.Record) error
	// Snapshot gives all records that stand (Journal.Records).
	Snapshot func() []journal.Record

	PeerTimeout time.Duration // of one message to one peer; 0: 2 s
	HelloEvery  time.Duration // when there is nothing to say to a peer; 0: 5 s
	PullEvery   time.Duration // when what peers hold is compared; 0: 1 min
	Forget      time.Duration // a peer not seen for so long is dropped; 0: 1 h
	Now         func() time.Time
	Log         *slog.Logger // nil: nothing is logged

	wrap func(http.RoundTripper) http.RoundTripper // what tests put around the client's; nil: nothing
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

// maxPeers bounds the gateways that are known; further ones are not spoken to.
const maxPeers = 256

// Peers speaks with the other gateways; a nil *Peers is a gateway without others. Each has a goroutine of its own, which brings
// it what it missed when it was away; they end with Close.
//
// The gateway that makes a record sends it to all others. They apply it and do not
// pass it on. Where the sender died half-way, or a peer missed too much, comparing
// heals that: a gateway that is new to another gets everything, and every PullEvery
// each asks the others whether they hold the same.
//
// What peers say is encrypted, and each end knows that the other has a key in common
// with it (see identity). The heartbeats' store can name any address, and learns
// nothing by that.
type Peers struct {
	cfg      Config
	identity identity
	client   *http.Client
	slots    chan struct{} // one for each request that is being answered

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	news   chan struct{} // wakes keep: changed has become true; capacity 1
	server *http.Server  // of the Handler

	mu sync.Mutex // guards what follows
	// known is by ID, and no two are at one place.
	known   map[string]*outbox
	changed bool // since the file was written
	closed  bool
}

// lately is for how long after it was heard of last a peer is taken to live.
const lately = 10 * time.Second

// maxRequests bounds the requests answered at a time; a pull may be long.
const maxRequests = 64

// New makes Peers that know those in the file, as if just seen, so that a
// fleet that starts together after a long time finds itself without any store.
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
		cfg.Log.Warn("peers are not remembered", "file", cfg.File, "error", err)
	}
	p.Learn(remembered)
	p.wg.Go(p.keep)
	p.wg.Go(p.compare)
	return p, nil
}

// Self is this gateway as it tells of itself.
func (p *Peers) Self() Peer {
	self := p.cfg.Self()
	self.Fingerprint = strings.Join(p.identity.names, " ")
	return self
}

// Learn takes in what heartbeats tell. Peers that they do not tell of stay
// known; this gateway itself, also as it was before a restart, is left out.
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
		p.cfg.Log.Warn("peers are malformed or too many, and left out", "count", refused)
	}
}

func (p *Peers) learnLocked(peer Peer) bool {
	for _, o := range p.known {
		other, at := o.whereNow()
		if at != place(peer.Address) || other.ID == peer.ID {
			continue
		}
		if !peer.Started.After(other.Started) {
			return true // an older run of the one that we know
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

// begin runs f in a goroutine that Close waits for; false: the peers are closed.
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

// changedLocked has the peers written down now: a process that is killed knows
// in its next run whom it knew in this one.
func (p *Peers) changedLocked() {
	p.changed = true
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// heard takes in that a peer has just spoken: if it was away, it is back.
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

// PeerStatus is a peer's state for people.
type PeerStatus struct {
	Peer
	Reachable bool
	Since     time.Time // when it became so, or unreachable
	Delivered time.Time // when it last applied records of this gateway; zero: never
	Pending   int       // records that wait for it
	Behind    bool      // it needs everything, for it is new or missed too much
	Error     string    // of the last message, if it failed
	Keys      string    // what is wrong with its keys and ours together; "": nothing, or it is not heard of now
}

// Known tells of all peers, ordered by address.
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

// Send brings records, which must stand in Snapshot already, to all peers at
// the same time. It returns when all have applied them or failed to, or with
// ctx. A peer that did not answer when last spoken to counts as failed at once,
// so that one that is away costs the first of many only. What failed is tried
// again until it arrives.
func (p *Peers) Send(ctx context.Context, records []journal.Record) (reached, failed []Peer) {
	if p == nil {
		return nil, nil
	}
	normal := make([]journal.Record, 0, len(records))
	for _, r := range records {
		n, err := r.Normal()
		if err != nil {
			p.cfg.Log.Error("record is not sent", "kind", r.Kind, "error", err)
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

// Pull merges what every peer holds, through Apply; a starting gateway does so
// before it is ready. ctx bounds it.
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
		p.cfg.Log.Warn("peer's records are not merged", "peer", peer.ID, "address", peer.Address, "error", errs[i])
	}
	return reached, failed
}

// compare asks the peers now and then whether they hold what we hold.
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
