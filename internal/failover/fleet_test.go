package failover

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// apart is the longest allowed time between the first and the last gateway that comes back from an
// outage.
const apart = 500 * time.Millisecond

// shared is a store of several gateways: an epoch, and the time of a common rejoin as kept by
// internal/store/redis.
type shared struct {
	store
	epochs
	at, until time.Time // of the common rejoin; guarded by epochs.mu
	of        string    // its incarnation; guarded by epochs.mu
}

func (sh *shared) probe(ctx context.Context) (Epoch, error) {
	if _, err := sh.store.Probe(ctx); err != nil {
		return Epoch{}, err
	}
	return sh.touch("", 0), nil
}

func (sh *shared) renew(ctx context.Context, last Epoch) (Epoch, error) {
	if _, err := sh.store.Probe(ctx); err != nil {
		return Epoch{}, err
	}
	return sh.Renew(ctx, last)
}

func (sh *shared) barrier(ctx context.Context) (time.Duration, error) {
	if _, err := sh.store.Probe(ctx); err != nil {
		return 0, err
	}
	sh.epochs.mu.Lock()
	defer sh.epochs.mu.Unlock()
	const ahead, linger = 400 * time.Millisecond, 600 * time.Millisecond
	switch now := time.Now(); {
	case now.After(sh.until), sh.of != sh.epochs.now.Incarnation:
		sh.at, sh.until, sh.of = now.Add(ahead), now.Add(ahead+linger), sh.epochs.now.Incarnation
	case !sh.at.After(now):
		sh.until = now.Add(linger)
	}
	return max(time.Until(sh.at), 0), nil
}

func (sh *shared) rejoining(ctx context.Context) (bool, error) {
	if _, err := sh.store.Probe(ctx); err != nil {
		return false, err
	}
	sh.epochs.mu.Lock()
	defer sh.epochs.mu.Unlock()
	return sh.at.After(time.Now()), nil
}

// empty deletes everything, including the time of a rejoin.
func (sh *shared) empty() {
	sh.set(losses[0].lose)
	sh.epochs.mu.Lock()
	defer sh.epochs.mu.Unlock()
	sh.at, sh.until = time.Time{}, time.Time{}
}

// join starts a gateway that makes a request at this interval; 0: none.
func (sh *shared) join(ctx context.Context, group *sync.WaitGroup, every time.Duration) *Switch {
	s := New(Config{
		Probe: sh.probe, Renew: sh.renew, Barrier: sh.barrier, Rejoining: sh.rejoining, Classify: classify,
	})
	onRejoin(s, "replay", func(ctx context.Context) error { return sleep(ctx, rand.N(20*time.Millisecond)) })
	group.Go(func() { s.Run(ctx) })
	if every > 0 {
		group.Go(func() {
			for sleep(ctx, every) == nil {
				_, _ = do(ctx, s, sh.Call, local)
			}
		})
	}
	return s
}

// outages are faults of a fleet's store; after each it works again.
var outages = map[string]func(sh *shared){
	"it refuses": func(sh *shared) {
		sh.store.now(behaviour{err: errRefused, probe: errRefused})
		time.Sleep(rand.N(3 * time.Second))
	},
	"it hangs": func(sh *shared) {
		sh.store.now(behaviour{delay: time.Hour, lag: time.Hour})
		time.Sleep(rand.N(5 * time.Second))
	},
	"it refuses for long": func(sh *shared) {
		sh.store.now(behaviour{err: errRefused, probe: errRefused})
		time.Sleep(30*time.Second + rand.N(time.Second))
	},
	"it is emptied":    func(sh *shared) { sh.empty() },
	"it was restarted": func(sh *shared) { sh.set(losses[4].lose) },
	"it loses data and loses more": func(sh *shared) {
		sh.set(losses[3].lose)
		time.Sleep(rand.N(1500 * time.Millisecond))
		sh.empty()
	},
	"it refuses and then has lost the epoch": func(sh *shared) {
		sh.store.now(behaviour{err: errRefused, probe: errRefused})
		time.Sleep(rand.N(time.Second))
		sh.store.now(behaviour{})
		time.Sleep(rand.N(600 * time.Millisecond))
		sh.set(losses[0].lose)
	},
	"it refuses and is then emptied": func(sh *shared) {
		sh.store.now(behaviour{err: errRefused, probe: errRefused})
		time.Sleep(rand.N(time.Second))
		sh.store.now(behaviour{})
		time.Sleep(rand.N(600 * time.Millisecond))
		sh.empty()
	},
	"it flaps": func(sh *shared) {
		for range 1 + rand.IntN(12) {
			sh.store.now(behaviour{err: errRefused, probe: errRefused})
			time.Sleep(rand.N(time.Second))
			sh.store.now(behaviour{})
			time.Sleep(rand.N(2 * time.Second))
		}
		sh.store.now(behaviour{err: errRefused, probe: errRefused})
		time.Sleep(2 * time.Second) // for idle gateways to notice this one
	},
}

// TestFleetRejoinsTogether causes outages for gateways with much, little and no traffic of their
// own, which notice at different times. Time is virtual, so failures come from the rules and not
// from a busy machine.
func TestFleetRejoinsTogether(t *testing.T) {
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var group sync.WaitGroup
				defer group.Wait()
				defer cancel()
				sh := &shared{}
				var fleet []*Switch
				for i := range 6 {
					fleet = append(fleet, sh.join(ctx, &group, time.Duration(i)*25*time.Millisecond))
					time.Sleep(rand.N(700 * time.Millisecond))
				}
				worst, all := time.Duration(0), 0
				for i := range 15 {
					outage(sh)
					sh.store.now(behaviour{})
					healed := time.Now()
					time.Sleep(10 * time.Second)
					d, came := spreadSince(fleet, healed)
					if worst = max(worst, d); d > apart {
						t.Errorf("outage %d: %d gateways came back over %v", i, len(came), came)
					}
					all += len(came)
					time.Sleep(rand.N(6 * time.Second)) // some of the next outages count as flapping
				}
				t.Logf("%d came back, at most %v apart", all, worst)
			})
		})
	}
}

// spreadSince returns how far apart the gateways went Up that did so since then, and when each did.
func spreadSince(fleet []*Switch, since time.Time) (d time.Duration, came []string) {
	var first, last time.Time
	for i, s := range fleet {
		st := s.Status()
		if st.State != Up {
			return time.Hour, []string{fmt.Sprint(i, " is ", st.State)}
		}
		at := st.Since
		if at.Before(since) {
			continue
		}
		came = append(came, fmt.Sprint(i, ": ", at.Sub(since)))
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return last.Sub(first), came
}
