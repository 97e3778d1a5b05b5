package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
)

// openCluster returns a cluster client that follows MOVED and ASK but retries nothing else.
// go-redis itself counts both as "redirects" and allows three of them, after a timeout too.
func openCluster(opts *redis.UniversalOptions) *redis.ClusterClient {
	o := opts.Cluster()
	o.MinRetryBackoff, o.MaxRetryBackoff = -1, -1 // the retries that are left need no sleep
	o.DisableRoutingPolicies = true               // otherwise the first call waits for the table of all commands
	client := redis.NewClusterClient(o)
	client.AddHook(sendOnce{})
	client.OnNewNode(func(node *redis.Client) { node.AddHook(everyDial{}) })
	return client
}

// sendOnce marks every command as not repeatable.
type sendOnce struct{}

// unrepeatable is a command that go-redis may redirect but must not retry: if the reply is missing,
// a charge may still have been made.
type unrepeatable struct{ redis.Cmder }

func (unrepeatable) NoRetry() bool { return true }

func (sendOnce) DialHook(next redis.DialHook) redis.DialHook { return next }

func (sendOnce) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return next(ctx, unrepeatable{cmd}) }
}

func (sendOnce) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		once := make([]redis.Cmder, len(cmds))
		for i, cmd := range cmds {
			once[i] = unrepeatable{cmd}
		}
		return next(ctx, once)
	}
}

// probeKey is the prefix of the probe's keys on primaries that do not hold the epoch.
const probeKey = "gw:{probe:"

// probeKeys is how many keys a cluster's probe spreads over the primaries. The chance that a
// primary with a hundredth of the slots gets none is 1 in 10^17; a primary with so few slots that
// it gets none slows hardly one request in a thousand.
const probeKeys = 4096

// probeCluster returns a probe of all primaries at once, each with a key of its own. A probe of a
// single primary would miss that another one hangs: requests for that one's slots would wait out
// their budget, among many that succeed. The slowest primary sets the probe's time.
//
// A failed probe reloads the topology: go-redis does so only when a node reports a moved slot,
// which a dead node cannot do.
func probeCluster(client *redis.ClusterClient) func(context.Context) (failover.Epoch, error) {
	keys := make([]string, probeKeys, probeKeys+1)
	for i := range keys {
		keys[i] = probeKey + strconv.Itoa(i) + "}"
	}
	keys = append(keys, epochKey) // last, so that its primary is probed with it
	return func(ctx context.Context) (failover.Epoch, error) {
		epoch, err := probePrimaries(ctx, client, keys)
		if err != nil && !errors.Is(err, context.Canceled) {
			client.ReloadState(ctx)
		}
		return epoch, err
	}
}

// probePrimaries probes every primary with the last key that belongs to it. The epoch is the one at
// epochKey. Its Server combines the processes of all primaries and the incarnations that the others
// hold, so the loss of any part of the cluster shows. A moved slot may show too, which costs a
// rejoin.
func probePrimaries(ctx context.Context, client *redis.ClusterClient, keys []string) (failover.Epoch, error) {
	keyOf := map[*redis.Client]string{}
	for _, key := range keys {
		primary, err := client.MasterForKey(ctx, key)
		if err != nil {
			return failover.Epoch{}, fmt.Errorf("probe redis: %w", err)
		}
		keyOf[primary] = key
	}
	type result struct {
		key   string
		epoch failover.Epoch
		err   error
	}
	var group sync.WaitGroup
	results := make(chan result, len(keyOf))
	for _, key := range keyOf {
		group.Go(func() {
			epoch, err := runProbe(ctx, client, key, failover.Epoch{})
			results <- result{key, epoch, err}
		})
	}
	group.Wait()
	close(results)
	var epoch failover.Epoch
	var servers []string
	var failed error
	for r := range results {
		switch {
		case r.err != nil:
			// A node's error is a better reason than another's timeout.
			if failed == nil || errors.Is(failed, context.DeadlineExceeded) {
				failed = r.err
			}
		case r.key == epochKey:
			epoch = r.epoch
			servers = append(servers, r.epoch.Server)
		default:
			servers = append(servers, r.epoch.Server+"/"+r.epoch.Incarnation)
		}
	}
	slices.Sort(servers)
	epoch.Server = strings.Join(servers, " ")
	return epoch, failed
}
