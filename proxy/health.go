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

// healthBody is the most that is read of a health check's answer; a connection
// with more left on it is not used again.
const healthBody = 64 << 10

// TargetStatus is the state of one target, for people and for readiness.
type TargetStatus struct {
	Upstream string
	Target   string // host:port
	Healthy  bool
	Checked  bool      // a health check has had its say; without checks never
	Since    time.Time // of the last change between healthy and not
	Reason   string    // of the last failed check; "" after one that did not fail
	InFlight int       // requests whose response has not ended
}

func (t *target) status() TargetStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return TargetStatus{
		Upstream: t.upstream, Target: t.url.Host, Healthy: !t.out.Load(), Checked: t.checked,
		Since: t.since, Reason: t.reason, InFlight: int(t.inFlight.Load()),
	}
}

// watch checks t until ctx is done. The first check comes at once; the others
// are spread, so that gateways that start together do not ask together.
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

// check asks t once, on the connections that requests use.
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
	_ = resp.Body.Close() // what was read is enough to judge by
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// note takes a check's outcome: so many failures in a row take t out, one
// success brings it back.
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
		p.cfg.Log.WarnContext(ctx, "target is out", "upstream", t.upstream, "target", t.url.Host, "error", err)
	default:
		p.cfg.Log.InfoContext(ctx, "target is back", "upstream", t.upstream, "target", t.url.Host)
	}
}
