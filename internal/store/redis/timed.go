package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// timed reports how long each call takes, whether or not it succeeds.
type timed struct{ observe func(time.Duration) }

func (timed) DialHook(next redis.DialHook) redis.DialHook { return next }

func (t timed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmd)
		if !errors.As(err, new(dialError)) { // no handshake took place; the call that needed it is counted
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

// timed makes client report its calls to Config.Observe.
func (cfg Config) timed(client Client) Client {
	if cfg.Observe != nil {
		client.AddHook(timed{cfg.Observe})
	}
	return client
}
