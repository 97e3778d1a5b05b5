package peers

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/journal"
)

// maxQueue bounds the records that wait for one peer. Beyond it the peer gets
// everything that stands instead.
const maxQueue = 4096

// outbox is what one peer is still to be told. One goroutine, run, tells it,
// one message at a time: what is put while one is under way shares the next.
type outbox struct {
	peers  *Peers
	cancel context.CancelFunc // of run
	wake   chan struct{}      // of room for one

	mu        sync.Mutex // guards what follows
	peer      Peer
	place     string // of peer.Address
	queue     []parcel
	flying    int              // parcels in the message under way
	met       bool             // it has answered once
	ended     bool             // run has
	all       bool             // it needs everything
	rest      []journal.Record // of everything, what it has not got yet
	err       error            // of the last message
	since     time.Time
	delivered time.Time
	failures  int // in a row, to which a mere hello puts no end
}

// parcel is one record for one peer.
type parcel struct {
	record journal.Record
	to     *delivery // nil: nobody waits
}

// delivery is one Send's wait for one peer.
type delivery struct {
	done chan struct{} // closed when it is known how it went

	// mu of the outbox guards these.
	left    int
	settled bool
	ok      bool // read after done
}

func (d *delivery) settle(ok bool) {
	if d != nil && !d.settled {
		d.settled, d.ok = true, ok
		close(d.done)
	}
}

// wait says whether it arrived within ctx; a nil delivery did not.
func (d *delivery) wait(ctx context.Context) bool {
	if d == nil {
		return false
	}
	select {
	case <-d.done:
		return d.ok
	case <-ctx.Done():
		return false
	}
}

// put queues records and returns their delivery, nil if there is no use in
// waiting for it.
func (o *outbox) put(records []journal.Record) *delivery {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return nil
	}
	if len(o.queue)+o.flying+len(records) > maxQueue {
		o.failLocked()
		o.queue, o.all = nil, true
		return nil
	}
	var d *delivery
	if o.err == nil {
		d = &delivery{done: make(chan struct{}), left: len(records)}
		if len(records) == 0 {
			d.settle(true)
		}
		defer o.nudge()
	}
	for _, r := range records {
		o.queue = append(o.queue, parcel{r, d})
	}
	return d
}

// failLocked tells all who wait that it will take longer.
func (o *outbox) failLocked() {
	for i, p := range o.queue {
		p.to.settle(false)
		o.queue[i].to = nil
	}
}

func (o *outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// revive has a peer that was away, and has just spoken, told at once.
func (o *outbox) revive() {
	o.mu.Lock()
	away := o.err != nil
	o.mu.Unlock()
	if away { // or two gateways would greet each other without end
		o.nudge()
	}
}

func (o *outbox) peerNow() Peer {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.peer
}

func (o *outbox) whereNow() (peer Peer, at string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.peer, o.place
}

// update takes in news of the peer and says whether they are worth writing down.
func (o *outbox) update(news Peer) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if news.Seen.Before(o.peer.Seen) {
		return false
	}
	old := o.peer
	o.peer, o.place = news, place(news.Address)
	return old.Address != news.Address || old.Fingerprint != news.Fingerprint || old.Replicas != news.Replicas || !old.Started.Equal(news.Started)
}

func (o *outbox) status() PeerStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := PeerStatus{
		Peer: o.peer, Reachable: o.met && o.err == nil, Since: o.since, Delivered: o.delivered,
		Pending: len(o.queue) + o.flying, Behind: o.all || len(o.rest) > 0,
	}
	if o.err != nil {
		s.Error = o.err.Error()
	}
	return s
}

// The waits after a message that failed.
const (
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

func (o *outbox) run(ctx context.Context) {
	defer func() { // nobody will deliver them
		o.mu.Lock()
		defer o.mu.Unlock()
		o.failLocked()
		o.ended = true
	}()
	for ctx.Err() == nil {
		idle, err := o.step(ctx)
		switch {
		case err != nil:
			o.mu.Lock()
			wait := firstBackoff << min(o.failures-1, 4)
			o.mu.Unlock()
			sleep(ctx, o.wake, jitter(min(wait, lastBackoff)))
		case idle && sleep(ctx, o.wake, jitter(o.peers.cfg.HelloEvery)) && !o.waiting():
			o.settle(o.hello(ctx), nil)
		}
	}
}

func (o *outbox) waiting() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) > 0 || o.all || len(o.rest) > 0
}

// step tells the peer one thing: at first and after a failure it asks whether it
// is there at all; then what waits, then of everything what it still lacks. It says whether
// there was nothing to tell.
func (o *outbox) step(ctx context.Context) (idle bool, err error) {
	if o.inDoubt() {
		err := o.hello(ctx)
		o.settle(err, nil)
		if err != nil {
			return false, err
		}
	}
	if o.begin() {
		snapshot := o.peers.cfg.Snapshot()
		o.mu.Lock()
		o.rest = snapshot
		o.mu.Unlock()
	}
	parcels, records := o.take()
	if len(records) == 0 {
		return true, nil
	}
	err = o.peers.post(ctx, o.peerNow(), records)
	o.settle(err, parcels)
	if err == nil {
		o.mu.Lock()
		o.delivered = o.peers.cfg.Now()
		o.mu.Unlock()
	}
	return false, err
}

func (o *outbox) inDoubt() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err != nil || !o.met
}

// begin says whether everything is to be told now. What it needs is noted as
// taken before the snapshot is: a queue that runs over meanwhile asks for another
// one, since that one need not hold what ran over.
func (o *outbox) begin() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.all && len(o.queue) == 0
	if now {
		o.all = false
	}
	return now
}

// take takes the next message's records: parcels from the queue, or else some
// of the rest.
func (o *outbox) take() ([]parcel, []journal.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		n := nextBatch(o.rest)
		records := o.rest[:n]
		if o.rest = o.rest[n:]; n == 0 {
			o.rest = nil
		}
		return nil, records
	}
	records := make([]journal.Record, len(o.queue))
	for i, p := range o.queue {
		records[i] = p.record
	}
	n := nextBatch(records)
	parcels := o.queue[:n:n]
	o.queue, o.flying = o.queue[n:], n
	return parcels, records[:n]
}

// settle notes how a message went. What failed is told again: parcels go back
// to the queue, and everything is begun anew rather than kept for a peer that
// may never come.
func (o *outbox) settle(err error, parcels []parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.peers.cfg.Now()
	if (err == nil) != (o.err == nil) || err == nil && !o.met {
		o.since = now
	}
	o.err = err
	o.flying = 0
	if err == nil {
		o.met, o.peer.Seen = true, now
		for _, p := range parcels {
			if p.to != nil {
				if p.to.left--; p.to.left == 0 {
					p.to.settle(true)
				}
			}
		}
		if len(o.queue) == 0 && !o.all && len(o.rest) == 0 {
			o.failures, o.rest = 0, nil
		}
		return
	}
	o.failures++
	o.queue = append(parcels, o.queue...)
	o.failLocked()
	if len(parcels) == 0 && o.rest != nil {
		o.rest, o.all = nil, true
	}
}

// sleep waits and says whether to go on: ctx has not ended. A wake ends it early.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter is a quarter more or less, so that gateways do not speak in chorus.
func jitter(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1)
}
