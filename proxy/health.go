package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// healthBody is how much of a health check's response is read, in bytes. If more is left, the
// connection is not reused.
const healthBody = 64 << 10

// TargetStatus is the state of one target, for people and for readiness.
type TargetStatus struct {
	Upstream string    `json:"upstream"`
	Target   string    `json:"target"` // host:port
	Healthy  bool      `json:"healthy"`
	Checked  bool      `json:"checked"`          // a health check has run; without checks always false
	Since    time.Time `json:"since"`            // of the last change between healthy and not
	Reason   string    `json:"reason,omitempty"` // error of the last check; "" if it succeeded
	InFlight int       `json:"in_flight"`        // requests whose response has not ended
}

func (t *target) status() TargetStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return TargetStatus{
		Upstream: t.upstream, Target: t.url.Host, Healthy: !t.out.Load(), Checked: t.checked,
		Since: t.since, Reason: t.reason, InFlight: int(t.inFlight.Load()),
	}
}

// watch checks t until ctx is done. The first check runs at once. Later ones have 10 % jitter, so that
// gateways that start together do not check together.
func (p *pool) watch(ctx context.Context, t *target) {
	for {
		err := p.check(ctx, t)
		if ctx.Err() != nil {
			return
		}
		p.note(ctx, t, err)
		timer := time.NewTimer(p.def.Health.Interval.Std() * time.Duration(90+rand.IntN(21)) / 100)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// check runs one health check of t, on the connections that requests use.
func (p *pool) check(ctx context.Context, t *target) error {
	if timeout := p.def.Health.Timeout.Std(); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url.String()+p.def.Health.Path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "gateway-health")
	resp, err := p.conns.Load().all[p.bounds[0]].RoundTrip(req)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, resp.Body, healthBody)
	_ = resp.Body.Close() // the part that was read is enough
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// note records a check's result. UnhealthyAfter failures in a row make t unhealthy; one success makes
// it healthy again.
func (p *pool) note(ctx context.Context, t *target, err error) {
	t.mu.Lock()
	was := t.out.Load()
	t.checked = true
	if err == nil {
		t.failures, t.reason = 0, ""
	} else {
		t.failures++
		t.reason = err.Error()
	}
	out := t.failures > 0 && (was || t.failures >= p.def.Health.UnhealthyAfter)
	if out != was {
		t.out.Store(out)
		t.since = p.cfg.Now()
	}
	t.mu.Unlock()
	switch {
	case out == was:
	case out:
		p.cfg.Log.WarnContext(ctx, "target is unhealthy", "upstream", t.upstream, "target", t.url.Host, "error", err)
	default:
		p.cfg.Log.InfoContext(ctx, "target is healthy again", "upstream", t.upstream, "target", t.url.Host)
	}
}
