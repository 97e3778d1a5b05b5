// Package reload puts a changed policy in force: compile it, let every part
// prepare for it, then commit all at once. A part that refuses, or a policy that
// does not compile, leaves everything as it was.
package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/jewgo/gateway/policy"
)

// Part is something that must be ready for a policy before it is in force.
type Part interface {
	// Prepare builds what s needs without touching what is in force, and
	// returns what puts it there. commit cannot fail.
	Prepare(s *policy.Snapshot) (commit func(), err error)
}

// Reloader reloads one policy. Load, Live and Report are required.
type Reloader struct {
	Load   func() (*policy.Snapshot, error)
	Live   *policy.Live
	Parts  []Part
	Report func(s *policy.Snapshot, err error) // told of every attempt; s is the policy then in force

	mu sync.Mutex // one attempt at a time
}

// Reload loads the policy and puts it in force. An error says why the old one
// stays.
func (r *Reloader) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.Load()
	if err == nil {
		err = r.commitLocked(next)
	}
	r.Report(r.Live.Load(), err)
	return err
}

// reloadChanged is Reload for an event that may have changed nothing.
func (r *Reloader) reloadChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.Load()
	if err == nil {
		if next.Digest == r.Live.Load().Digest {
			return
		}
		err = r.commitLocked(next)
	}
	r.Report(r.Live.Load(), err)
}

func (r *Reloader) commitLocked(next *policy.Snapshot) error {
	if err := unchangeable(r.Live.Load().Policy, next.Policy); err != nil {
		return err
	}
	commits := make([]func(), 0, len(r.Parts))
	for _, part := range r.Parts {
		commit, err := part.Prepare(next)
		if err != nil {
			return err
		}
		commits = append(commits, commit)
	}
	for _, commit := range commits {
		commit()
	}
	r.Live.Store(next)
	return nil
}

// unchangeable refuses what only a restart can change, all of it at once.
func unchangeable(old, next *policy.Policy) error {
	var errs []error
	for _, s := range []struct {
		key     string
		changed bool
	}{
		{"server.listen", old.Server.Listen != next.Server.Listen},
		{"server.admin", old.Server.Admin != next.Server.Admin},
		{"server.peers", old.Server.Peers != next.Server.Peers},
		{"server.admin_token_file", old.Server.AdminTokenFile != next.Server.AdminTokenFile},
		{"server.data_dir", old.Server.DataDir != next.Server.DataDir},
		{"server.max_header", old.Server.MaxHeader != next.Server.MaxHeader},
		{"server.timeouts.read_header", old.Server.Timeouts.ReadHeader != next.Server.Timeouts.ReadHeader},
		{"server.timeouts.idle", old.Server.Timeouts.Idle != next.Server.Timeouts.Idle},
		{"log.format", old.Log.Format != next.Log.Format},
		{"redis.url", old.Redis.URL != next.Redis.URL},
		{"redis.budget", old.Redis.Budget != next.Redis.Budget},
		{"ratelimit.keys", old.RateLimit.Keys != next.RateLimit.Keys},
		{"redis.pool_size", old.Redis.PoolSize != next.Redis.PoolSize},
		{"session.keys_file", old.Session.KeysFile != next.Session.KeysFile},
		{"session.identity.keys_file", old.Session.Identity.KeysFile != next.Session.Identity.KeysFile},
		{"cache.memory", old.Cache.Memory != next.Cache.Memory},
		{"cache.redis_url", old.Cache.RedisURL != next.Cache.RedisURL},
	} {
		if s.changed {
			errs = append(errs, fmt.Errorf("%s has changed: that needs a restart", s.key))
		}
	}
	return errors.Join(errs...)
}

// settle is how long a file must be left alone before it is read: editors and
// ConfigMaps write in several steps.
const settle = 200 * time.Millisecond

// Run reloads on each value from hup and whenever the file changes, until ctx is
// done. A file that cannot be watched is reported, and signals still work.
func (r *Reloader) Run(ctx context.Context, hup <-chan os.Signal, file string) {
	var changed <-chan time.Time
	w, err := watch(file)
	if err != nil {
		r.Report(r.Live.Load(), err)
		w = &fsnotify.Watcher{} // whose nil channels stay silent
	} else {
		defer func() { _ = w.Close() }() // nothing is left to lose
		changed = time.After(settle)     // it may have been, since it was loaded
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			_ = r.Reload() // Report has told it
		case e := <-w.Events:
			if concerns(e, file) {
				changed = time.After(settle)
			}
		case err := <-w.Errors: // an overflow, say: something may have been missed
			r.Report(r.Live.Load(), fmt.Errorf("watch %s: %w", file, err))
			changed = time.After(settle)
		case <-changed:
			changed = nil
			r.reloadChanged()
		}
	}
}

// watch watches the parent folder rather than the file: editors and ConfigMaps
// put a new file, or a new link, in its place.
func watch(file string) (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", file, err)
	}
	if err := w.Add(filepath.Dir(file)); err != nil {
		_ = w.Close() // the error that matters is the other one
		return nil, fmt.Errorf("watch %s: %w", file, err)
	}
	return w, nil
}

// concerns reports whether an event may have changed the file: its own, or the
// one by which Kubernetes swaps a ConfigMap's folder.
func concerns(e fsnotify.Event, file string) bool {
	base := filepath.Base(e.Name)
	return base == filepath.Base(file) || base == "..data"
}
