package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/middleware/cache"
)

var (
	//go:embed fills_claim.lua
	fillsClaimSource string
	//go:embed fills_tell.lua
	fillsTellSource string
	//go:embed fills_follow.lua
	fillsFollowSource string
	//go:embed fills_drop.lua
	fillsDropSource string

	fillsClaim  = redis.NewScript(fillsClaimSource)
	fillsTell   = redis.NewScript(fillsTellSource)
	fillsFollow = redis.NewScript(fillsFollowSource)
	fillsDrop   = redis.NewScript(fillsDropSource)
)

// Fills keeps what gateways tell each other of responses on their way: at gw:{c:KEY}:f a hash with
// the owner, whether somebody reads along, and the response's head; at gw:{c:KEY}:b its body as far
// as it has come, once somebody does. Both expire.
type Fills struct{ client redis.UniversalClient }

var _ cache.Fills = (*Fills)(nil)

// NewFills returns the fills on the client, which the caller closes.
func NewFills(client redis.UniversalClient) *Fills { return &Fills{client} }

func fillKeys(key string) []string {
	return []string{cachePrefix + key + "}:f", cachePrefix + key + "}:b"}
}

// Claim implements cache.Fills, in one round trip, as do the others.
func (f *Fills) Claim(ctx context.Context, key, owner string, lease time.Duration) (bool, error) {
	mine, err := fillsClaim.Run(ctx, f.client, fillKeys(key), owner, lease.Milliseconds()).Bool()
	if err != nil {
		return false, fmt.Errorf("claim a fill: %w", err)
	}
	return mine, nil
}

// errNotOwner means that a fill has ended by itself.
var errNotOwner = errors.New("the fill is another gateway's")

// Tell implements cache.Fills.
func (f *Fills) Tell(ctx context.Context, key, owner string, news cache.Fill, lease time.Duration) (bool, error) {
	var entry []byte
	if news.Entry != nil {
		entry = encodeEntry(news.Entry)
	}
	done := ""
	if news.Done {
		done = "1"
	}
	followed, err := fillsTell.Run(ctx, f.client, fillKeys(key), owner, lease.Milliseconds(), entry, news.Length, news.At, news.Body, done).Int()
	switch {
	case err != nil:
		return false, fmt.Errorf("tell of a fill: %w", err)
	case followed < 0:
		return false, errNotOwner
	}
	return followed == 1, nil
}

// Drop implements cache.Fills.
func (f *Fills) Drop(ctx context.Context, key, owner string) error {
	if err := fillsDrop.Run(ctx, f.client, fillKeys(key), owner).Err(); err != nil {
		return fmt.Errorf("drop a fill: %w", err)
	}
	return nil
}

// Follow implements cache.Fills. A fill that cannot be read is none.
func (f *Fills) Follow(ctx context.Context, key string, at int64) (cache.Fill, bool, error) {
	reply, err := fillsFollow.Run(ctx, f.client, fillKeys(key), at).StringSlice()
	if err != nil {
		return cache.Fill{}, false, fmt.Errorf("follow a fill: %w", err)
	}
	if len(reply) != 4 {
		return cache.Fill{}, false, nil
	}
	fill := cache.Fill{At: at, Body: []byte(reply[3]), Done: reply[2] == "1"}
	if reply[0] == "" {
		return fill, true, nil
	}
	if fill.Entry, err = decodeEntry([]byte(reply[0])); err == nil {
		fill.Length, err = strconv.ParseInt(reply[1], 10, 64)
	}
	return fill, err == nil, nil //nolint:nilerr // written by another version
}
