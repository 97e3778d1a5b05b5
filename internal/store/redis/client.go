// Package redis is the gateway's only way to Redis: the client and its
// options, what its errors mean, the probe of its health, and the stores that
// live in it. It decides nothing about failover: every store here answers or
// fails within its context, and internal/failover does the rest.
package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/jewgo/gateway/internal/redisurl"
)

// Client is a connection to a Redis of any topology, which others hold and hand
// back to this package. Whoever opened it closes it.
type Client = redis.UniversalClient

// Config says which Redis to use and how long to wait for it.
type Config struct {
	// URL is one that redisurl.Parse reads: a single server, Sentinels or a
	// cluster, by TLS or not. The files that it names are read for each new
	// connection, so that certificates may be renewed under way. The rights that
	// an ACL user needs are
	//
	//	~rate:* ~gw:* &gw:* +@read +@write +@scripting +@pubsub -@dangerous +time +info
	//
	// and in a cluster +cluster|slots +asking besides.
	URL string
	// Budget is the most that a request waits for Redis; 0: 50 ms.
	Budget time.Duration
	// PoolSize is how many connections a node gets; 0: ten a processor, in a
	// cluster five.
	PoolSize int
	// Observe is told how long every command, every pipeline and the handshake
	// of every connection took, the wait for a connection included, on the
	// caller's goroutine; nil: nobody is.
	Observe func(time.Duration)
}

// defaultBudget is Config.Budget's.
const defaultBudget = 50 * time.Millisecond

// Open returns a client for cfg.URL. It does not connect: whether Redis is there
// is a matter of the first call. The caller closes it. An error says what is
// wrong with the URL, or with a file that it names, and repeats nothing of the
// URL but such a path, since it may hold a password.
func Open(cfg Config) (Client, error) {
	u, err := redisurl.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w", err)
	}
	if u.TLS {
		if _, err := tlsConfig(u); err != nil {
			return nil, fmt.Errorf("redis URL: %w", err)
		}
	}
	opts := &redis.UniversalOptions{
		Addrs: u.Addrs, Username: u.User, Password: u.Password, DB: u.DB,
		MasterName: u.Service, SentinelUsername: u.SentinelUser, SentinelPassword: u.SentinelPassword,
	}
	cfg.apply(opts)
	opts.Dialer = dialer{url: u, timeout: opts.DialTimeout}.dial
	redis.SetLogger(silence{})
	if u.Cluster {
		return cfg.timed(openCluster(opts)), nil
	}
	if u.Service != "" {
		// To connect, go-redis asks the Sentinel that it knows, and again, and then
		// all of them, within one dial. Were that not longer than what it waits for
		// each, it would leave one that hangs by luck alone, after seconds. Of the
		// connection to the server itself the dialer takes care.
		opts.DialTimeout += 4 * opts.ReadTimeout
	}
	client := redis.NewUniversalClient(opts)
	client.AddHook(everyDial{})
	return cfg.timed(client), nil
}

// apply bounds every wait: a call is over when its context is, is made once,
// and a connection that cannot be had at once is not worth waiting for.
func (cfg Config) apply(opts *redis.UniversalOptions) {
	budget := cfg.Budget
	if budget == 0 {
		budget = defaultBudget
	}
	opts.PoolSize = cfg.PoolSize
	opts.PipelinePoolSize = -1        // else pipelines have ten connections of their own, whatever PoolSize says
	opts.ContextTimeoutEnabled = true // else a stopped server holds a call for ReadTimeout
	opts.MaxRetries = -1              // a call that timed out may have been made: a second one charges twice
	opts.DialerRetries = 1
	opts.DialTimeout = max(100*time.Millisecond, budget) // a dial does not heed its caller's context
	opts.ReadTimeout = max(250*time.Millisecond, budget) // for contexts without a deadline
	opts.WriteTimeout = opts.ReadTimeout
	opts.PoolTimeout = budget
	opts.DisableIdentity = true // Redis before 7.2 refuses it
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// silence takes go-redis's own log lines, of which a dead server causes one a
// dial: the Switch tells once, with the reason.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
