// Package reload puts a changed policy in force: compile it, let every part prepare for it, then
// commit all at once. If the policy does not compile or a part refuses it, nothing changes.
package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/policy"
)

// Part is something that must be ready for a policy before it is in force.
type Part interface {
	// Prepare builds what s needs without changing what is in force, and returns a function that
	// puts it in force. commit cannot fail.
	Prepare(s *policy.Snapshot) (commit func(), err error)
}

// Reloader reloads one policy. Parts may be empty; the rest is required.
type Reloader struct {
	Load   func() (*policy.Snapshot, error)
	Live   *policy.Live
	Parts  []Part
	Every  time.Duration                       // how often Run checks the file
	Report func(s *policy.Snapshot, err error) // called after every attempt; s is the policy then in force

	mu sync.Mutex // one attempt at a time
}

// Reload loads the policy and puts it in force. On an error the old policy stays.
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

// unchangeable returns an error that lists all changes which need a restart.
func unchangeable(old, next *policy.Policy) error {
	var errs []error
	for _, s := range []struct {
		key     string
		changed bool
	}{
		{"server.listen", !slices.Equal(old.Server.Listen, next.Server.Listen)},
		{"server.socket_mode", old.Server.SocketMode != next.Server.SocketMode},
		{"server.proxy_protocol", !slices.Equal(old.Server.ProxyProtocol, next.Server.ProxyProtocol)},
		{"server.tls", (old.Server.TLS == nil) != (next.Server.TLS == nil)},
		{"server.tls.redirect", tlsOf(old).Redirect != tlsOf(next).Redirect},
		{"server.tls.redirect_port", tlsOf(old).RedirectPort != tlsOf(next).RedirectPort},
		{"server.tls.acme", !reflect.DeepEqual(tlsOf(old).ACME, tlsOf(next).ACME)},
		{"server.h2c", old.Server.H2C != next.Server.H2C},
		{"server.admin", old.Server.Admin != next.Server.Admin},
		{"server.peers", old.Server.Peers != next.Server.Peers},
		{"server.admin_token_file", old.Server.AdminTokenFile != next.Server.AdminTokenFile},
		{"server.data_dir", old.Server.DataDir != next.Server.DataDir},
		{"server.max_header", old.Server.MaxHeader != next.Server.MaxHeader},
		{"server.max_target", old.Server.MaxTarget != next.Server.MaxTarget},
		{"server.max_fields", old.Server.MaxFields != next.Server.MaxFields},
		{"server.max_field", old.Server.MaxField != next.Server.MaxField},
		{"server.max_connections", old.Server.MaxConnections != next.Server.MaxConnections},
		{"server.max_connections_per_client", old.Server.MaxConnectionsPerClient != next.Server.MaxConnectionsPerClient},
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

func tlsOf(p *policy.Policy) policy.TLS {
	if p.Server.TLS == nil {
		return policy.TLS{}
	}
	return *p.Server.TLS
}

// Run reloads on each value from hup and whenever the file changes, until ctx is done. It polls:
// the path may lead to another file through any link, folder or mount on the way, and the kernel
// does not report such changes. A changed file is read once it has stayed the same for one
// interval, since editors and ConfigMaps write in several steps.
func (r *Reloader) Run(ctx context.Context, hup <-chan os.Signal, file string) {
	turns := time.NewTicker(r.Every)
	defer turns.Stop()
	seen := atomicfile.Look(file)
	if Once(file) {
		turns.Stop()
	}
	var read atomicfile.State // the file may have changed since it was loaded
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			_ = r.Reload() // Report has reported it
		case <-turns.C:
			now := atomicfile.Look(file)
			if now.Same(seen) && !now.Same(read) {
				read = now
				r.reloadChanged()
			}
			seen = now
		}
	}
}

// Once reports whether a file can be read only once, so that opening it again would block: a pipe,
// a socket, a terminal.
func Once(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket|os.ModeCharDevice) != 0
}
