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

// openCluster returns a client of a cluster that follows MOVED and ASK, and sends
// nothing a second time but that. By itself go-redis takes both for one thing,
// "redirects", of which there are three after a timeout too.
func openCluster(opts *redis.UniversalOptions) *redis.ClusterClient {
	o := opts.Cluster()
	o.MinRetryBackoff, o.MaxRetryBackoff = -1, -1 // what is left to try again is not worth sleeping for
	o.DisableRoutingPolicies = true               // else the first call waits for the table of all commands
	client := redis.NewClusterClient(o)
	client.AddHook(sendOnce{})
	client.OnNewNode(func(node *redis.Client) { node.AddHook(everyDial{}) })
	return client
}

// sendOnce marks every command as one that must not be sent again.
type sendOnce struct{}

// unrepeatable is a command that go-redis may redirect and must not repeat:
// where the answer did not come, a charge may have been made.
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

// probeKey begins the keys of the primaries that do not hold the epoch.
const probeKey = "gw:{probe:"

// probeKeys is how many keys a cluster's probe deals out over the primaries. A
// primary with a hundredth of the slots gets none once in 10^17 times; one with
// so few that it is left out hardly slows a request in a thousand.
const probeKeys = 4096

// probeCluster returns a probe of all primaries at once, each by a key of its
// own. A cluster of which one primary hangs would else look well to a probe that
// asks another, while the requests for its slots wait out their budget, one
// between many that succeed. The slowest primary is the cluster's pace.
//
// A probe that fails has the topology read anew: go-redis does so when a node
// says that a slot has moved, which a dead one cannot say.
func probeCluster(client *redis.ClusterClient) func(context.Context) (failover.Epoch, error) {
	keys := make([]string, probeKeys, probeKeys+1)
	for i := range keys {
		keys[i] = probeKey + strconv.Itoa(i) + "}"
	}
	keys = append(keys, epochKey) // the last, so that its primary is asked for it
	return func(ctx context.Context) (failover.Epoch, error) {
		epoch, err := probePrimaries(ctx, client, keys)
		if err != nil && !errors.Is(err, context.Canceled) {
			client.ReloadState(ctx)
		}
		return epoch, err
	}
}

// probePrimaries probes every primary by the last of the keys that is its own.
// The epoch is the one at epochKey. What the other primaries hold, and which
// processes they all are, goes into its Server, so that the loss of any part of
// the cluster shows; so does a slot that moves at times, which costs a rejoin.
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
			// What a node says is a better reason than another's silence.
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
