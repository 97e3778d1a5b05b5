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
	resetsTTL  = 10 * time.Minute // far longer than a gateway goes without asking
	listNone   = -1               // in place of the count that was heard
)

//go:embed limits_resets.lua
var resetsSource string

var resetsScript = redis.NewScript(resetsSource)

var resetsKeys = []string{"gw:{resets}:count", "gw:{resets}:names"}

// Resets tells all gateways of buckets that were made full by hand, so that none
// goes on refusing by what it remembers. It keeps the last 1,024.
type Resets struct {
	client redis.UniversalClient

	mu    sync.Mutex // one call at a time
	heard int64      // guarded by mu
}

// NewResets returns them on the client, which the caller closes. All that is kept
// is news at first: a gateway asks for the first time when it has served already.
func NewResets(client redis.UniversalClient) *Resets { return &Resets{client: client} }

// Tell tells of keys. The teller hears of them too.
func (r *Resets) Tell(ctx context.Context, keys ...string) error {
	_, err := r.call(ctx, listNone, keys)
	return err
}

// News lists the keys that were told of since the last call, in one round trip.
func (r *Resets) News(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	said, err := r.call(ctx, r.heard, nil)
	if err != nil {
		return nil, err
	}
	if r.heard, err = strconv.ParseInt(said[0], 10, 64); err != nil {
		return nil, fmt.Errorf("ask for resets: %w", err)
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
		return nil, fmt.Errorf("ask for resets: %w", err)
	}
	return said, nil
}
