package redis

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	resetsKept = 1024
	resetsTTL  = 10 * time.Minute // far longer than a gateway goes without calling News
	listNone   = -1               // instead of a count: do not list
)

//go:embed limits_resets.lua
var resetsSource string

var resetsScript = redis.NewScript(resetsSource)

var resetsKeys = []string{"gw:{resets}:count", "gw:{resets}:names"}

// Resets announces buckets that an administrator has filled to all gateways, so that none goes on
// refusing from its own memory. It keeps the last 1,024.
type Resets struct {
	client redis.UniversalClient

	mu    sync.Mutex // one call at a time
	heard int64      // guarded by mu
}

// NewResets returns the resets on the client, which the caller closes. The first News returns
// everything kept, since the gateway may have served requests before that.
func NewResets(client redis.UniversalClient) *Resets { return &Resets{client: client} }

// Tell announces keys. The caller's own News lists them too.
func (r *Resets) Tell(ctx context.Context, keys ...string) error {
	_, err := r.call(ctx, listNone, keys)
	return err
}

// News lists the keys announced since the last call, in one round trip.
func (r *Resets) News(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	said, err := r.call(ctx, r.heard, nil)
	if err != nil {
		return nil, err
	}
	if r.heard, err = strconv.ParseInt(said[0], 10, 64); err != nil {
		return nil, fmt.Errorf("exchange limit resets: %w", err)
	}
	return said[1:], nil
}

func (r *Resets) call(ctx context.Context, heard int64, keys []string) ([]string, error) {
	args := []any{heard, resetsKept, resetsTTL.Milliseconds()}
	for _, k := range keys {
		args = append(args, k)
	}
	said, err := resetsScript.Run(ctx, r.client, resetsKeys, args...).StringSlice()
	if err == nil && len(said) == 0 {
		err = errReply
	}
	if err != nil {
		return nil, fmt.Errorf("exchange limit resets: %w", err)
	}
	return said, nil
}
