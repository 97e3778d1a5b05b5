package failover

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// parts is a backlog of this many parts.
type parts struct {
	left   atomic.Int64
	replay int64
	tell   func(ctx context.Context) error
}

func (p *parts) Replay()       { p.left.Add(p.replay) }
func (p *parts) Pending() bool { return p.left.Load() > 0 }
func (p *parts) Waiting() int  { return int(p.left.Load()) }

func (p *parts) Drain(ctx context.Context) error {
	if err := p.tell(ctx); err != nil {
		return err
	}
	p.left.Add(-1)
	return nil
}

func TestEachPartOfABacklogHasItsTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		parts int64
		tell  func(ctx context.Context) error
		took  time.Duration
		up    bool
	}{
		{"many take as long as they need", 10, func(ctx context.Context) error { return sleep(ctx, 4*time.Second) }, 40 * time.Second, true},
		{"one that hangs ends the rejoin", 1, func(ctx context.Context) error { return sleep(ctx, time.Minute) }, 5 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Time{}
			inBubble(t, func(t *testing.T, r *rig) {
				<-r.Probed()
				took, st := time.Since(begin), r.Status()
				if took != tt.took || r.Up() != tt.up || !tt.up && !errors.Is(st.Reason, context.DeadlineExceeded) {
					t.Errorf("up %v after %v (%v), want %v after %v", r.Up(), took, st.Reason, tt.up, tt.took)
				}
			}, func(r *rig) {
				begin = time.Now()
				r.Brings("parts", &parts{replay: tt.parts, tell: tt.tell})
			})
		})
	}
}

func TestABacklogEndsWithRun(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		time.Sleep(time.Second) // a part is in progress
		begin := time.Now()
		r.stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("Run ended %v later", took)
		}
	}, func(r *rig) {
		r.Brings("parts", &parts{replay: 1, tell: func(ctx context.Context) error { return sleep(ctx, 4*time.Second) }})
	})
}

// Items that come after a backlog was emptied and before Up, without a wake-up, are drained because
// Pending is checked. So are failed ones.
func TestABacklogIsDrainedWhileUp(t *testing.T) {
	var refuse atomic.Bool
	p := &parts{replay: 1, tell: func(context.Context) error {
		if refuse.Load() {
			return errRefused
		}
		return nil
	}}
	var late atomic.Bool
	inBubble(t, func(t *testing.T, r *rig) {
		r.mustBe(t, Up)
		time.Sleep(time.Second)
		if p.Pending() {
			t.Error("an item from before Up is still pending a second later")
		}
		p.left.Add(1)
		r.Wake()
		time.Sleep(2 * drainAfter)
		if p.Pending() {
			t.Error("the wake-up had no effect")
		}
		refuse.Store(true)
		p.left.Add(1)
		time.Sleep(time.Second) // without a wake-up
		if r.Up() {
			t.Error("a refused connection is not counted as a fault")
		}
		refuse.Store(false)
		time.Sleep(20 * time.Second)
		if !r.Up() || p.Pending() {
			t.Errorf("up %v, pending %v", r.Up(), p.Pending())
		}
	}, func(r *rig) {
		r.Brings("parts", p)
		r.cfg.Barrier = func(context.Context) (time.Duration, error) { return 0, nil }
		probe := r.cfg.Probe
		r.cfg.Probe = func(ctx context.Context) (Epoch, error) {
			if r.load().state() == Rejoining && !late.Swap(true) { // the last probe before Up
				p.left.Add(1)
			}
			return probe(ctx)
		}
	})
}
