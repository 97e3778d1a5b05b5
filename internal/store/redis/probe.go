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
	// epochKey holds the store's epoch, and rejoinKey, in the same slot of a
	// cluster, the moment of a common rejoin.
	epochKey  = "gw:{epoch}"
	rejoinKey = "gw:{epoch}:rejoin"

	// epochTTL is refreshed by every probe: all gateways must have been gone for
	// as long before a store forgets its epoch, and the generations of cache tags
	// that stand in the same key.
	epochTTL = cache.CountersTTL
	// rejoinAhead is how far ahead the first gateway sets the common moment:
	// more than what separates the probes of gateways that are Down.
	rejoinAhead = 400 * time.Millisecond
	// rejoinLinger is how long the moment stands after it has passed: until the
	// last gateway has come, which may be one that had to find a loss by a probe.
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

// Probe returns a probe of the server that client speaks to, in a cluster of
// every primary: a script that writes, run through that very client, since its
// pool may go on failing for a while after a fresh connection would succeed. The
// probe's context bounds it.
func Probe(client Client) func(context.Context) (failover.Epoch, error) {
	if cluster, ok := client.(*redis.ClusterClient); ok {
		return probeCluster(cluster)
	}
	return func(ctx context.Context) (failover.Epoch, error) {
		return runProbe(ctx, client, epochKey, failover.Epoch{})
	}
}

// Renew returns what a failover.Config asks of Renew, in one script.
func Renew(client Client) func(context.Context, failover.Epoch) (failover.Epoch, error) {
	probe := Probe(client)
	return func(ctx context.Context, last failover.Epoch) (failover.Epoch, error) {
		if _, err := runProbe(ctx, client, epochKey, last); err != nil {
			return failover.Epoch{}, err
		}
		return probe(ctx) // which in a cluster knows more than one server's word
	}
}

// Barrier returns what a failover.Config asks of Barrier, in one script and by
// the server's clock.
func Barrier(client Client) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		left, err := rejoinScript.Run(ctx, client, []string{rejoinKey, epochKey}, rejoinAhead.Milliseconds(), rejoinLinger.Milliseconds()).Int64()
		if err != nil {
			return 0, fmt.Errorf("rejoin together: %w", err)
		}
		return time.Duration(left) * time.Millisecond, nil
	}
}

// Rejoining returns what a failover.Config asks of Rejoining, in one script that
// writes nothing.
func Rejoining(client Client) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		others, err := rejoiningScript.Run(ctx, client, []string{rejoinKey}).Bool()
		if err != nil {
			return false, fmt.Errorf("look who rejoins: %w", err)
		}
		return others, nil
	}
}

// runProbe counts the epoch at key up, above that of last, whose incarnation is
// replaced if it is still there.
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
