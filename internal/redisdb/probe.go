package redisdb

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	probeKey = "gw:{probe}"
	probeTTL = time.Minute
)

//go:embed probe.lua
var probeSource string

var probeScript = redis.NewScript(probeSource)

// Probe returns a probe of the server that client speaks to: a script that
// writes, run through that very client, since its pool may go on failing for a
// while after a fresh connection would succeed. The probe's context bounds it.
func Probe(client redis.UniversalClient) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := probeScript.Run(ctx, client, []string{probeKey}, probeTTL.Milliseconds()).Err(); err != nil {
			return fmt.Errorf("probe redis: %w", err)
		}
		return nil
	}
}
