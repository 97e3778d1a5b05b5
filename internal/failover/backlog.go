package failover

import (
	"context"
	"fmt"
	"time"
)

const (
	// drainsAtOnce bounds what one backlog tells the store in a row while it is Up,
	// so that the probe is not kept waiting.
	drainsAtOnce = 16
	// drainsToRejoin ends a rejoin where a backlog grows as fast as it is drained;
	// the rest follows while Up.
	drainsToRejoin = 1 << 14
	// drainAfter lets things come together after a Wake.
	drainAfter = 100 * time.Millisecond
	// drainProbes is how many times as long as a probe a part may take while Up.
	drainProbes = 4
)

// Backlog is what one consumer must still tell the store: state, bounded, of which
// each item may be told twice. The Switch empties it before it goes Up, and goes
// on while Up for as long as something is pending: by level, so that no wake-up
// can be missed. Its methods are called by Run's goroutine alone, Pending and Drain
// often.
type Backlog interface {
	// Replay adds all that lives, since the store may have lost it.
	Replay()
	// Pending reports whether there is something to tell.
	Pending() bool
	// Drain tells a part, in the time that ctx gives. What the store did not take
	// stays pending.
	Drain(ctx context.Context) error
}

// Brings registers a backlog. Register before Run; the order is that of draining.
func (s *Switch) Brings(name string, b Backlog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backlogs = append(s.backlogs, namedBacklog{name, b})
}

type namedBacklog struct {
	name string
	Backlog
}

// Wake has backlogs looked at soon, and not only when the next probe is due. A nil
// Switch has none.
func (s *Switch) Wake() {
	if s == nil {
		return
	}
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// empty drains all backlogs before the store is used again, each part in a time of its
// own.
func (s *Switch) empty(ctx context.Context) error {
	for _, b := range s.backlogs {
		for n := 0; n < drainsToRejoin && b.Pending(); n++ {
			if err := b.drain(ctx, s.cfg.RejoinTimeout); err != nil {
				return fmt.Errorf("rejoin of %s: %w", b.name, err)
			}
		}
	}
	return nil
}

// drain tells a store that is Up what is pending. What fails is tried again at the
// next probe, or when something more comes.
func (s *Switch) drain(ctx context.Context) {
	for _, b := range s.backlogs {
		for range drainsAtOnce {
			seen := s.load()
			if seen.state() != Up || !b.Pending() {
				break
			}
			if err := b.drain(ctx, drainProbes*s.cfg.ProbeTimeout); err != nil {
				if ctx.Err() == nil {
					s.report(seen, s.cfg.Classify(err), err)
				}
				break
			}
		}
	}
}

// drain bounds one part.
func (b namedBacklog) drain(ctx context.Context, limit time.Duration) error {
	_, err := bounded(ctx, limit, func(ctx context.Context) (struct{}, error) { return struct{}{}, b.Drain(ctx) })
	return err
}
