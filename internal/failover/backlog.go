package failover

import (
	"context"
	"fmt"
	"time"
)

const (
	// drainsAtOnce bounds the consecutive drains of one backlog while Up, so that they do not delay
	// the probe.
	drainsAtOnce = 16
	// drainsToRejoin ends a rejoin if a backlog grows as fast as it is drained; the rest follows
	// while Up.
	drainsToRejoin = 1 << 14
	// drainAfter lets items collect after a Wake.
	drainAfter = 100 * time.Millisecond
	// drainProbes times ProbeTimeout is the limit of one Drain while Up.
	drainProbes = 4
)

// Backlog is what one consumer must still send to the store. It is bounded, and each item may be
// sent twice. The Switch drains it before going Up, and while Up for as long as Pending says so;
// since it checks the level, not an edge, no wake-up is missed. Only Run's goroutine calls its
// methods, Pending and Drain often, except for Waiting.
type Backlog interface {
	// Replay adds everything that is still valid, since the store may have lost it.
	Replay()
	// Pending reports whether there is something to send.
	Pending() bool
	// Waiting is how many items wait, for display. It is called at any time.
	Waiting() int
	// Drain sends a part, within ctx's time. What the store did not take stays pending.
	Drain(ctx context.Context) error
}

// Brings registers a backlog. Call it before Run; backlogs are drained in order of registration.
func (s *Switch) Brings(name string, b Backlog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backlogs = append(s.backlogs, namedBacklog{name, b})
}

type namedBacklog struct {
	name string
	Backlog
}

// Wake makes the Switch check its backlogs soon instead of at the next probe. It does nothing on a
// nil Switch.
func (s *Switch) Wake() {
	if s == nil {
		return
	}
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// empty drains all backlogs before the store is used again. Each Drain has its own time limit.
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

// drain sends pending items to a store that is Up. What fails is retried at the next probe, or when
// more comes.
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

// drain drains one part within limit.
func (b namedBacklog) drain(ctx context.Context, limit time.Duration) error {
	_, err := bounded(ctx, limit, func(ctx context.Context) (struct{}, error) { return struct{}{}, b.Drain(ctx) })
	return err
}
