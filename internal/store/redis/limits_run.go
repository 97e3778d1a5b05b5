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

// bucketName is a charge's key as redis_rate is given it. In a cluster a brace
// may choose the slot, and nothing could be put beside the key there: where there
// is one, a hash stands for the key. Its single brace chooses nothing, and keeps
// it apart from all keys that are kept as they are.
func bucketName(key string) string {
	if !strings.ContainsAny(key, "{}") {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "{" + hex.EncodeToString(sum[:])
}

// limitKey is where a bucket lies: redis_rate's own key.
func limitKey(key string) string { return "rate:" + bucketName(key) }

// interval is gcra.Quota.Interval as redis_rate computes it, in seconds.
func interval(q gcra.Quota) float64 { return q.Period.Seconds() / float64(q.Rate) }

// limitScript is a script over buckets, for each of which it returns that many
// integers.
type limitScript struct {
	*redis.Script
	integers int
}

// item is what a script needs for one bucket: keys of one slot, and arguments.
type item struct {
	keys []string
	args []any
}

// errReply is an answer that is none to the question.
var errReply = errors.New("unexpected answer of a script")

// run has a script handle items: on a single server by one call for all, in a
// cluster by one for each, in one pipeline. After an error, the replies to those
// items that are known to have been handled are not nil.
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

// runEach runs a pipeline of a call for each item. A server that does not know
// the script yet has done nothing: it is sent whole for those items alone, in a
// second pipeline.
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
		_, _ = pipe.Exec(ctx) // its error is one of those that the calls have
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
	return replies, errReply // EVAL knows every script
}
