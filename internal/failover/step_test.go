package failover

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestStep(t *testing.T) {
	for _, tt := range []struct {
		name string
		hook func(ctx context.Context) error
		took time.Duration
		up   bool
	}{
		{"a hook takes no longer than its time", func(ctx context.Context) error {
			return sleep(ctx, time.Minute)
		}, 5 * time.Second, false},
		{"in steps it takes as long as it needs", func(ctx context.Context) error {
			for range 10 {
				if err := Step(ctx, func(ctx context.Context) error { return sleep(ctx, 4*time.Second) }); err != nil {
					return err
				}
			}
			return nil
		}, 40 * time.Second, true},
		{"a step that hangs ends it", func(ctx context.Context) error {
			return Step(ctx, func(ctx context.Context) error { return sleep(ctx, time.Minute) })
		}, 5 * time.Second, false},
		{"what is no step has the hook's time", func(ctx context.Context) error {
			return errors.Join(Step(ctx, func(ctx context.Context) error { return sleep(ctx, 4*time.Second) }), sleep(ctx, 4*time.Second))
		}, 5 * time.Second, false},
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
				r.OnRejoin("hook", tt.hook)
			})
		})
	}
}

// A step ends with Run, and outside of a hook it is nothing of its own.
func TestStepHeedsItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		time.Sleep(time.Second) // the step is under way
		begin := time.Now()
		r.stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("it ended %v later", took)
		}
	}, func(r *rig) {
		r.OnRejoin("hook", func(ctx context.Context) error {
			return Step(ctx, func(ctx context.Context) error { return sleep(ctx, 4*time.Second) })
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Step(ctx, func(ctx context.Context) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("outside of a hook: %v", err)
	}
}
