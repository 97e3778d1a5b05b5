package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/middleware/cache"
)

const (
	// epochKey holds the store's epoch. rejoinKey, in the same slot of a cluster, holds the time of
	// a common rejoin.
	epochKey  = "gw:{epoch}"
	rejoinKey = "gw:{epoch}:rejoin"

	// epochTTL is renewed by every probe. The store forgets its epoch, and the generations of cache
	// tags in the same key, only after no gateway has probed for this long.
	epochTTL = cache.CountersTTL
	// rejoinAhead is how far ahead the first gateway sets the common time: more than the interval
	// between probes while Down.
	rejoinAhead = 400 * time.Millisecond
	// rejoinLinger is how long the key is kept after that time, until the last gateway has come,
	// which may first have to detect a loss by a probe.
	rejoinLinger = 600 * time.Millisecond
)

//go:embed epoch.lua
var epochSource string

//go:embed probe.lua
var probeSource string

//go:embed rejoin.lua
var rejoinSource string

//go:embed rejoining.lua
var rejoiningSource string

var (
	probeScript     = redis.NewScript(epochSource + probeSource)
	rejoinScript    = redis.NewScript(rejoinSource)
	rejoiningScript = redis.NewScript(rejoiningSource)
)

// Probe returns a probe of client's server, or of every primary of a cluster: a script that writes.
// It uses the same client as requests do, since that client's pool may fail for a while after a
// fresh connection would succeed. The probe's context bounds it.
func Probe(client Client) func(context.Context) (failover.Epoch, error) {
	if cluster, ok := client.(*redis.ClusterClient); ok {
		return probeCluster(cluster)
	}
	return func(ctx context.Context) (failover.Epoch, error) {
		return runProbe(ctx, client, epochKey, failover.Epoch{})
	}
}

// Renew returns the function for failover.Config.Renew: one script, then a probe.
func Renew(client Client) func(context.Context, failover.Epoch) (failover.Epoch, error) {
	probe := Probe(client)
	return func(ctx context.Context, last failover.Epoch) (failover.Epoch, error) {
		if _, err := runProbe(ctx, client, epochKey, last); err != nil {
			return failover.Epoch{}, err
		}
		return probe(ctx) // in a cluster, it covers every primary
	}
}

// Barrier returns the function for failover.Config.Barrier: one script, by the server's clock.
func Barrier(client Client) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		left, err := rejoinScript.Run(ctx, client, []string{rejoinKey, epochKey}, rejoinAhead.Milliseconds(), rejoinLinger.Milliseconds()).Int64()
		if err != nil {
			return 0, fmt.Errorf("rejoin together: %w", err)
		}
		return time.Duration(left) * time.Millisecond, nil
	}
}

// Rejoining returns the function for failover.Config.Rejoining: one script that writes nothing.
func Rejoining(client Client) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		others, err := rejoiningScript.Run(ctx, client, []string{rejoinKey}).Bool()
		if err != nil {
			return false, fmt.Errorf("check for rejoining gateways: %w", err)
		}
		return others, nil
	}
}

// runProbe increments the epoch at key, to above last's counter, and replaces last's incarnation if
// it is still there.
func runProbe(ctx context.Context, client Client, key string, last failover.Epoch) (failover.Epoch, error) {
	reply, err := probeScript.Run(ctx, client, []string{key}, epochTTL.Milliseconds(), rand.Text(), last.Incarnation, last.Counter).Slice()
	if err != nil {
		return failover.Epoch{}, fmt.Errorf("probe redis: %w", err)
	}
	var epoch failover.Epoch
	if len(reply) == 3 {
		epoch.Incarnation, _ = reply[0].(string)
		epoch.Counter, _ = reply[1].(int64)
		epoch.Server, _ = reply[2].(string)
	}
	return epoch, nil
}
