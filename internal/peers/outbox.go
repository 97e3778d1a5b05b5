package peers

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/journal"
)

const (
	// maxMissed bounds the records kept for one peer that did not take them. Beyond it the peer is
	// sent all records in force instead.
	maxMissed = 4096
	// maxTelling bounds the concurrent messages of Send to one peer.
	maxTelling = 64
)

// outbox is what one peer must still be sent. Send calls tell. One goroutine, run, greets the peer
// now and then, and sends what it missed.
type outbox struct {
	peers   *Peers
	cancel  context.CancelFunc // of run
	wake    chan struct{}      // capacity 1
	telling chan struct{}      // one element for each message of Send

	mu        sync.Mutex // guards what follows
	peer      Peer
	place     string // of peer.Address
	met       bool   // it has answered at least once
	missed    []journal.Record
	all       bool  // it must be sent everything
	err       error // of the last message
	since     time.Time
	delivered time.Time
}

// tell sends records and reports whether the peer applied them before ctx ended. Records that it
// did not take are kept for later. If the peer did not answer the last message, tell does not wait
// for it.
func (o *outbox) tell(ctx context.Context, records []journal.Record) bool {
	if o.away() {
		o.miss(records) // run retries later
		return false
	}
	select {
	case o.telling <- struct{}{}:
	case <-ctx.Done():
		o.miss(records)
		o.nudge()
		return false
	}
	told := make(chan bool, 1)
	if !o.peers.begin(func() {
		defer func() { <-o.telling }()
		err := o.post(o.peers.ctx, records)
		if err != nil {
			o.miss(records)
			o.nudge()
		}
		told <- err == nil
	}) {
		<-o.telling
		return false
	}
	select {
	case ok := <-told:
		return ok
	case <-ctx.Done(): // sending goes on
		return false
	}
}

// post sends records in as many messages as needed.
func (o *outbox) post(ctx context.Context, records []journal.Record) error {
	for len(records) > 0 {
		n := nextBatch(records)
		if err := o.settle(o.peers.post(ctx, o.peerNow(), records[:n])); err != nil {
			return err
		}
		records = records[n:]
		o.mu.Lock()
		o.delivered = o.peers.cfg.Now()
		o.mu.Unlock()
	}
	return nil
}

// miss keeps records that the peer did not take.
func (o *outbox) miss(records []journal.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.missed)+len(records) > maxMissed {
		o.missed, o.all = nil, true
		return
	}
	o.missed = append(o.missed, records...)
}

// pushMissed sends what the peer missed: some records, everything, or both. It marks them as taken
// before the snapshot, since records that are missed later need not be in the snapshot.
func (o *outbox) pushMissed(ctx context.Context) error {
	o.mu.Lock()
	missed, all := o.missed, o.all
	o.missed, o.all = nil, false
	o.mu.Unlock()
	records := missed
	if all { // missed may hold records that the journal had no room for
		records = slices.Concat(missed, o.peers.cfg.Snapshot())
	}
	err := o.post(ctx, records)
	if err != nil {
		o.mu.Lock()
		o.all = o.all || all
		o.mu.Unlock()
		o.miss(missed)
	}
	return err
}

func (o *outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// revive makes run send at once to an unreachable peer that has just been heard from.
func (o *outbox) revive() {
	if o.away() { // otherwise two gateways would greet each other endlessly
		o.nudge()
	}
}

func (o *outbox) away() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err != nil
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

// update stores newer facts about the peer and reports whether to save them in the file.
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
		Pending: len(o.missed), Behind: o.all,
	}
	if o.err != nil {
		s.Error = o.err.Error()
	}
	return s
}

// The waits after a failed step.
const (
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

func (o *outbox) run(ctx context.Context) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		wait := o.peers.cfg.HelloEvery
		if o.step(ctx) == nil {
			backoff = firstBackoff
		} else {
			wait, backoff = backoff, min(2*backoff, lastBackoff)
		}
		sleep(ctx, o.wake, jitter(wait))
	}
}

// step greets the peer, unless it is known to be reachable and there is something to send, and then
// sends what it missed.
func (o *outbox) step(ctx context.Context) error {
	o.mu.Lock()
	greet := o.err != nil || !o.met || len(o.missed) == 0 && !o.all
	o.mu.Unlock()
	if greet {
		if err := o.settle(o.hello(ctx)); err != nil {
			return err
		}
	}
	return o.pushMissed(ctx)
}

// settle records the result of a message.
func (o *outbox) settle(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.peers.cfg.Now()
	if (err == nil) != (o.err == nil) || err == nil && !o.met {
		o.since = now
	}
	o.err = err
	if err == nil {
		o.met, o.peer.Seen = true, now
	}
	return err
}

// sleep waits and reports whether ctx is still alive. A wake ends it early.
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

// jitter changes d by up to a quarter, so that gateways do not send in step.
func jitter(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1)
}
