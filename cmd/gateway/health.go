package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/store/redis"
)

const (
	// warnEvery is how often a Redis in use is checked for warnings. fillEvery is how
	// often the memory of one that holds responses is checked.
	warnEvery, fillEvery = 30 * time.Second, time.Second
	// lookTime bounds each check of a Redis.
	lookTime = time.Second
)

// warnings are those of the last check of a Redis. The zero value has none.
type warnings struct {
	mu   sync.Mutex
	last []string // replaced whole; guarded by mu
}

func (w *warnings) set(list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = list
}

func (w *warnings) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// watch checks for warnings whenever the Redis comes up and every warnEvery while it is
// up, until ctx is done. Where it holds responses, its memory is checked every fillEvery.
// While it is unavailable the last warnings stay: they may tell why.
func (r *remote) watch(ctx context.Context) {
	warn := time.NewTicker(warnEvery)
	defer warn.Stop()
	var fill <-chan time.Time
	if r.cache {
		ticker := time.NewTicker(fillEvery)
		defer ticker.Stop()
		fill = ticker.C
	}
	for warnings := true; ; {
		if r.health.Up() {
			r.look(ctx, warnings)
		}
		warnings = true
		select {
		case <-ctx.Done():
			return
		case <-r.cameUp:
		case <-warn.C:
		case <-fill:
			warnings = false
		}
	}
}

// look refreshes what is known of the memory, and the warnings if asked to. If Redis does
// not answer, nothing changes here; the Switch decides about failures.
func (r *remote) look(ctx context.Context, warnings bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	inspect := redis.InspectMemory
	if warnings {
		inspect = redis.InspectServers
	}
	info, err := inspect(ctx, r.client)
	if err != nil {
		return
	}
	r.guard.Look(info)
	if warnings {
		r.warnings.set(redis.Warnings(info, r.sessions))
	}
}

// writes are warnings that responses are not written.
func (r *remote) writes() (list []string) {
	if !r.cache {
		return nil
	}
	if share, full := r.guard.Full(); full {
		list = append(list, fmt.Sprintf("responses are not written: memory is at %.0f %%; writing resumes at 70 %%", 100*share))
	}
	if w := r.responses.Writes(); time.Now().Before(w.Paused) {
		list = append(list, "writing responses pauses after a failure: "+redis.ErrorText(w.Err))
	}
	return list
}

// numbers is the state of a Redis for the metrics.
func (r *remote) numbers() metrics.Redis {
	n := metrics.Redis{Status: r.health.Status(), Warnings: len(r.warnings.list())}
	if p := r.pool(n.Status); p != nil {
		pool := metrics.Pool(*p)
		n.Pool = &pool
	}
	return n
}

// pool is nil until the Redis has been Up once: before that, PoolStats of a cluster would
// connect.
func (r *remote) pool(s failover.Status) *redis.Pool {
	if s.Counts.Rejoins == 0 {
		return nil
	}
	p := redis.PoolStats(r.client)
	return &p
}

// condition is a Redis's line in /readyz, with where each feature is served from.
func (r *remote) condition() admin.Condition {
	if r == nil {
		return admin.Condition{Name: "redis", Detail: "not configured, local memory serves"}
	}
	s := r.health.Status()
	c := admin.Condition{
		Name: r.name, Detail: fmt.Sprintf("%s since %s", s.State, s.Since.UTC().Format(time.RFC3339)),
		Warnings: slices.Concat(r.warnings.list(), r.writes()),
	}
	if s.State != failover.Up {
		c.Level = admin.Degraded
		c.Detail += ", local memory serves"
		if s.Reason != nil {
			c.Detail += ": " + redis.ErrorText(s.Reason)
		}
	}
	if r.sessions {
		c.Serves = append(c.Serves, serves(s.State, "limits", "counted here, what that admits decided by Redis", "counted here"),
			serves(s.State, "sessions", "the cookie, records in Redis and in memory", "the cookie, records in memory"))
	}
	switch {
	case r.cacheAlone:
		c.Serves = append(c.Serves, serves(s.State, "cache", "Redis", "nothing"))
	case r.cache:
		c.Serves = append(c.Serves, serves(s.State, "cache", "memory, then Redis", "memory"))
	}
	return c
}

// serves tells where a feature is served from.
func serves(s failover.State, feature, up, away string) string {
	if s == failover.Up {
		return feature + ": " + up
	}
	return feature + ": " + away
}

// redisView is what GET /v1/redis answers.
type redisView struct {
	Redis   []remoteView   `json:"redis"` // none: local memory serves
	Journal journal.Status `json:"journal"`
	Peers   []peerView     `json:"peers,omitzero"` // left out where the policy has none
}

// remoteView is one Redis. Exactly one of Info and Error is there.
type remoteView struct {
	Name     string          `json:"name"`
	Serves   []string        `json:"serves"`
	Status   failover.Status `json:"status"`
	Pool     *redis.Pool     `json:"pool,omitempty"`
	Warnings []string        `json:"warnings"` // those of the last look, if there is an Error
	Info     *redis.Info     `json:"info,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// view asks all Redis servers side by side for their state, for at most lookTime.
func (s *stores) view(ctx context.Context) redisView {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	remotes := s.remotes()
	v := redisView{Redis: make([]remoteView, len(remotes))}
	var all sync.WaitGroup
	for i, r := range remotes {
		all.Go(func() { v.Redis[i] = r.view(ctx) })
	}
	all.Wait()
	return v
}

// view is the state of one Redis. Only one caller at a time asks it, so that a page
// that is reloaded often takes no connections away from requests.
func (r *remote) view(ctx context.Context) remoteView {
	v := remoteView{Name: r.name, Warnings: r.warnings.list()}
	select {
	case r.looking <- struct{}{}:
		info, err := redis.Inspect(ctx, r.client)
		<-r.looking
		if err != nil {
			v.Error = redis.ErrorText(err)
			break
		}
		v.Info, v.Warnings = &info, redis.Warnings(info, r.sessions)
	case <-ctx.Done():
		v.Error = "busy: other requests are asking for its state"
	}
	if v.Warnings == nil {
		v.Warnings = []string{}
	}
	v.Serves = r.condition().Serves
	v.Status = r.health.Status() // as it is now, after Redis was asked
	v.Pool = r.pool(v.Status)
	return v
}
