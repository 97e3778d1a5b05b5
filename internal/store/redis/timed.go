package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// timed tells how long each call takes, whatever comes of it.
type timed struct{ observe func(time.Duration) }

func (timed) DialHook(next redis.DialHook) redis.DialHook { return next }

func (t timed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmd)
		if !errors.As(err, new(dialError)) { // a handshake that never was; the call that wanted it counts
			t.observe(time.Since(start))
		}
		return err
	}
}

func (t timed) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmds)
		t.observe(time.Since(start))
		return err
	}
}

// timed has Config.Observe told of client's calls.
func (cfg Config) timed(client Client) Client {
	if cfg.Observe != nil {
		client.AddHook(timed{cfg.Observe})
	}
	return client
}
