// Package redis is the gateway's only access to Redis: the client and its options, the meaning of
// its errors, the health probe, and the stores kept in Redis. It does not decide about failover:
// every store here answers or fails within its context, and internal/failover does the rest.
package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/jewgo/gateway/internal/redisurl"
)

// Client is a connection to a Redis of any topology. Other packages hold it and pass it back to
// this package. The caller of Open closes it.
type Client = redis.UniversalClient

// Config says which Redis to use and how long to wait for it.
type Config struct {
	// URL is in the form of redisurl.Parse: a single server, Sentinels or a cluster, with or
	// without TLS. The files that it names are read for each new connection, so certificates can be
	// renewed while the gateway runs. An ACL user needs the rights
	//
	//	~rate:* ~gw:* &gw:* +@read +@write +@scripting +@pubsub -@dangerous +time +info
	//
	// and in a cluster also +cluster|slots +asking.
	URL string
	// Budget is the longest that a request waits for Redis; 0: 50 ms.
	Budget time.Duration
	// PoolSize is the number of connections per node; 0: ten per processor, in a cluster five.
	PoolSize int
	// Untouched keeps what is read from counting as used, where the server evicts by use and can tell:
	// from Redis 7.2 on, with the right +client|no-touch.
	Untouched bool
	// Observe receives the duration of every command, every pipeline and every connection's
	// handshake, including the wait for a connection, on the caller's goroutine; nil: none.
	Observe func(time.Duration)
}

// defaultBudget is the default of Config.Budget.
const defaultBudget = 50 * time.Millisecond

// Open returns a client for cfg.URL. It does not connect: only the first call shows whether Redis
// is available. The caller closes it. An error says what is wrong with the URL or with a file that
// it names. It quotes nothing of the URL except such a path, since the URL may hold a password.
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
	if cfg.Untouched {
		opts.OnConnect = func(ctx context.Context, c *redis.Conn) error {
			_ = c.Do(ctx, "client", "no-touch", "on").Err() // else reading counts
			return nil
		}
	}
	opts.Dialer = dialer{url: u, timeout: opts.DialTimeout}.dial
	redis.SetLogger(silence{})
	if u.Cluster {
		return cfg.timed(openCluster(opts)), nil
	}
	if u.Service != "" {
		// In one dial, go-redis asks the Sentinel that it knows, asks it again, and then all of
		// them. If the dial did not last longer than the wait for each, go-redis would get past a
		// hanging Sentinel only by luck, after seconds. The dialer bounds the connection to the
		// server itself.
		opts.DialTimeout += 4 * opts.ReadTimeout
	}
	client := redis.NewUniversalClient(opts)
	client.AddHook(everyDial{})
	return cfg.timed(client), nil
}

// apply bounds every wait: a call ends with its context and is never retried, and a call does not
// wait long for a connection.
func (cfg Config) apply(opts *redis.UniversalOptions) {
	budget := cfg.Budget
	if budget == 0 {
		budget = defaultBudget
	}
	opts.PoolSize = cfg.PoolSize
	opts.PipelinePoolSize = -1        // otherwise pipelines get ten connections of their own, whatever PoolSize says
	opts.ContextTimeoutEnabled = true // otherwise a stopped server holds a call for ReadTimeout
	opts.MaxRetries = -1              // a call that timed out may have taken effect: a retry would charge twice
	opts.DialerRetries = 1
	opts.DialTimeout = max(100*time.Millisecond, budget) // a dial ignores its caller's context
	opts.ReadTimeout = max(250*time.Millisecond, budget) // for contexts without a deadline
	opts.WriteTimeout = opts.ReadTimeout
	opts.PoolTimeout = budget
	opts.DisableIdentity = true // Redis before 7.2 rejects it
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// silence drops go-redis's own log lines: a dead server causes one for each dial. The Switch logs
// once, with the reason.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
