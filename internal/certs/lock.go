package certs

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/failover"
)

const (
	// lockEvery is about how often a lock in Redis is looked at, and holdEvery how often its holder sets it
	// again.
	lockEvery = 300 * time.Millisecond
	holdEvery = lockEvery / 3
	// lockRest is how long the lock of an order must be free before it is taken: a Redis that was emptied gets
	// it back from its holder by then, or the certificate that was just issued.
	lockRest = 12 * lockEvery
	// publishWait bounds the wait, before a lock is given back, until Redis has what was got under it.
	publishWait = 2 * time.Second
	// lockTTL ends the lock of a gateway that is gone. After that long without Redis a gateway goes on alone.
	lockTTL = 10 * time.Second
)

// heldLock is a lock that this gateway holds in Redis.
type heldLock struct {
	token string
	stop  context.CancelFunc
	ended chan struct{}
}

// Lock implements certmagic.Locker: within this process, and among gateways while Redis is there.
func (s *storage) Lock(ctx context.Context, name string) error {
	s.mu.Lock()
	lock, ok := s.locks[name]
	if !ok {
		lock = make(chan struct{}, 1)
		s.locks[name] = lock
	}
	s.mu.Unlock()
	select {
	case lock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.shared == nil {
		return nil
	}
	if err := s.lockShared(ctx, name); err != nil {
		<-lock
		return err
	}
	return nil
}

// lockShared waits for the lock in Redis, or until Redis is gone: when it is emptied, or restarts, it is
// away for a moment.
func (s *storage) lockShared(ctx context.Context, name string) error {
	token := crand.Text()
	free, answeredLast := 0, time.Now()
	rest := 0
	if strings.HasPrefix(name, "issue_cert_") { // certmagic's name for it
		rest = int(s.rest / lockEvery)
	}
	for {
		holder, answered, err := failover.Ask(ctx, s.health, func(ctx context.Context) (string, error) { return s.shared.Holder(ctx, name) })
		switch {
		case !answered || err != nil:
			if free = 0; time.Since(answeredLast) > s.alone {
				return nil
			}
		case holder != "":
			free = 0
		default:
			free++
		}
		if answered {
			answeredLast = time.Now()
		}
		if free > rest && s.hold(ctx, name, token) {
			s.keepHolding(name, token)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockEvery/2 + rand.N(lockEvery)): // not in step with whatever empties Redis
		}
	}
}

func (s *storage) hold(ctx context.Context, name, token string) bool {
	held, answered, err := failover.Ask(ctx, s.health, func(ctx context.Context) (bool, error) { return s.shared.Hold(ctx, name, token, lockTTL) })
	return held && answered && err == nil
}

// keepHolding holds a lock until Unlock.
func (s *storage) keepHolding(name, token string) {
	ctx, stop := context.WithCancel(context.Background())
	h := &heldLock{token: token, stop: stop, ended: make(chan struct{})}
	s.mu.Lock()
	s.tokens[name] = h
	s.mu.Unlock()
	go func() {
		defer close(h.ended)
		turns := time.NewTicker(holdEvery)
		defer turns.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-turns.C:
				s.hold(ctx, name, token) // without an answer the next turn tries again
			}
		}
	}()
}

// Unlock implements certmagic.Locker.
func (s *storage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	h := s.tokens[name]
	delete(s.tokens, name)
	lock := s.locks[name]
	s.mu.Unlock()
	if h != nil {
		for end := time.Now().Add(publishWait); !s.publishRest(ctx) && time.Now().Before(end); {
			time.Sleep(holdEvery)
		}
		h.stop()
		<-h.ended
		_, _, _ = failover.Offer(ctx, s.health, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, s.shared.Free(ctx, name, h.token) // else it expires
		})
	}
	<-lock
	return nil
}
