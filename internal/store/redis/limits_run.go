package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/gcra"
)

// bucketName is the name that redis_rate gets for a charge's key. In a cluster, a brace in the key
// could choose the slot, and no other key could be placed beside it. So a key with a brace is
// replaced by its hash. The hash's single brace chooses no slot, and keeps it apart from all keys
// that are used unchanged.
func bucketName(key string) string {
	if !strings.ContainsAny(key, "{}") {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "{" + hex.EncodeToString(sum[:])
}

// limitKey is the Redis key of a bucket, as redis_rate builds it.
func limitKey(key string) string { return "rate:" + bucketName(key) }

// interval is gcra.Quota.Interval in seconds, as redis_rate computes it.
func interval(q gcra.Quota) float64 { return q.Period.Seconds() / float64(q.Rate) }

// limitScript is a script over buckets; it returns this many integers for each of them.
type limitScript struct {
	*redis.Script
	integers int
}

// item is a script's input for one bucket: keys of one slot, and arguments.
type item struct {
	keys []string
	args []any
}

var errReply = errors.New("unexpected reply from a script")

// run runs a script over items: on a single server in one call for all, in a cluster in one
// pipeline with a call for each. After an error, the replies of items that are known to be done are
// not nil.
func (l *Limits) run(ctx context.Context, script limitScript, items []item) (replies [][]int64, err error) {
	if l.cluster {
		return l.runEach(ctx, script, items)
	}
	replies = make([][]int64, len(items))
	var all item
	for _, it := range items {
		all.keys, all.args = append(all.keys, it.keys...), append(all.args, it.args...)
	}
	reply, err := script.Run(ctx, l.client, all.keys, all.args...).Int64Slice()
	if err != nil {
		return replies, err
	}
	if len(reply) != script.integers*len(items) {
		return replies, errReply
	}
	for i := range items {
		replies[i] = reply[i*script.integers : (i+1)*script.integers]
	}
	return replies, nil
}

// runEach runs a pipeline with one call for each item. A server that does not know the script has
// done nothing: a second pipeline sends it the full script, for those items only.
func (l *Limits) runEach(ctx context.Context, script limitScript, items []item) ([][]int64, error) {
	replies := make([][]int64, len(items))
	var failed error
	call := script.EvalSha
	for range 2 {
		pipe := l.client.Pipeline()
		calls := make([]*redis.Cmd, len(items))
		for i, it := range items {
			if replies[i] == nil {
				calls[i] = call(ctx, pipe, it.keys, it.args...)
			}
		}
		_, _ = pipe.Exec(ctx) // its error is one of the calls' errors
		unknown := false
		for i, c := range calls {
			if c == nil {
				continue
			}
			reply, err := c.Int64Slice()
			switch {
			case redis.HasErrorPrefix(err, "NOSCRIPT"):
				unknown = true
			case err != nil:
				failed = err
			case len(reply) != script.integers:
				failed = errReply
			default:
				replies[i] = reply
			}
		}
		if !unknown || failed != nil {
			return replies, failed
		}
		call = script.Eval
	}
	return replies, errReply // cannot happen: EVAL needs no known script
}
