package redis

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/packed"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/middleware/cache"
)

const (
	// varySets bounds the sets of selecting fields that one key may have.
	varySets = 4
	// knownKeys bounds the keys whose latest set is remembered in this process.
	knownKeys = 1 << 15
)

//go:embed cache_put.lua
var cachePutSource string

var cachePut = redis.NewScript(cachePutSource)

// Cache keeps responses in Redis, for all gateways. Each key has
//
//	gw:{c:<key>}:i              index: the sets of fields that select its variants
//	gw:{c:<key>}:v:<hash>       one variant: the hash of a set and its values
//
// in one slot, each with a time to live. Get guesses the variant from the set last seen for the
// key; if the guess is right, a look-up takes one round trip.
type Cache struct {
	client redis.UniversalClient
	now    func() time.Time

	known *otter.Cache[string, string] // key → its newest set
	last  atomic.Pointer[string]       // newest set of any key: the guess for an unknown key
}

var _ cache.Store = (*Cache)(nil)

// NewCache returns a store on the client, which the caller closes.
func NewCache(client redis.UniversalClient, now func() time.Time) *Cache {
	return &Cache{client: client, now: now, known: otter.Must(&otter.Options[string, string]{MaximumSize: knownKeys})}
}

// cachePrefix begins the keys of responses; variantInfix is between the key and the hash of a variant.
const cachePrefix, variantInfix = "gw:{c:", "}:v:"

func cacheIndex(key string) string { return cachePrefix + key + "}:i" }

// cacheVariant returns the key of the variant for a set of fields, as written in the index, and its
// values.
func cacheVariant(key, set string, values []string) string {
	sum := sha256.Sum256(packed.AppendTexts([]byte(set), values))
	return cachePrefix + key + variantInfix + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// joinSet writes a set of fields as its names, comma-separated.
func joinSet(names []string) string { return strings.Join(names, ",") }

func selectingValues(set string, fields rfc9111.Fields) []string {
	if set == "" {
		return nil
	}
	var values []string
	for name := range strings.SplitSeq(set, ",") {
		values = append(values, rfc9111.Selecting(name, fields.Values(name)))
	}
	return values
}

// Get reads the index and the guessed variant in one round trip. If the index names other sets, a
// second round trip reads their variants.
func (c *Cache) Get(ctx context.Context, key string, fields rfc9111.Fields) (cache.Found, error) {
	guess := c.guess(key)
	pipe := c.client.Pipeline()
	index := pipe.LRange(ctx, cacheIndex(key), 0, varySets-1)
	first := pipe.Get(ctx, cacheVariant(key, guess, selectingValues(guess, fields)))
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return cache.Found{}, fmt.Errorf("get cache entry %s: %w", key, err)
	}
	sets := index.Val()
	best := c.usable(first, fields)
	if len(sets) > 0 {
		c.learn(key, sets[0])
	}
	var others []string
	for _, set := range sets {
		if set != guess {
			others = append(others, cacheVariant(key, set, selectingValues(set, fields)))
		}
	}
	if len(others) > 0 {
		found, err := c.best(ctx, others, fields, best)
		if err != nil {
			return cache.Found{}, fmt.Errorf("get cache variants %s: %w", key, err)
		}
		best = found
	}
	return cache.Found{Entry: best, Others: best == nil && len(sets) > 0}, nil
}

// best reads further variants and returns the newest of them and of best.
func (c *Cache) best(ctx context.Context, keys []string, fields rfc9111.Fields, best *cache.Entry) (*cache.Entry, error) {
	pipe := c.client.Pipeline()
	var replies []*redis.StringCmd
	for _, k := range keys {
		replies = append(replies, pipe.Get(ctx, k))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	for _, reply := range replies {
		if e := c.usable(reply, fields); e != nil && (best == nil || e.Received.After(best.Received)) {
			best = e
		}
	}
	return best, nil
}

// usable returns the entry of a reply, or nil: an entry that cannot be decoded, or does not match
// this request, is a miss.
func (c *Cache) usable(reply *redis.StringCmd, fields rfc9111.Fields) *cache.Entry {
	b, err := reply.Bytes()
	if err != nil {
		return nil
	}
	e, err := decodeEntry(b)
	if err != nil || !e.Matches(fields) || e.Expired(c.now()) {
		return nil
	}
	return e
}

func (c *Cache) guess(key string) string {
	if set, ok := c.known.GetIfPresent(key); ok {
		return set
	}
	if last := c.last.Load(); last != nil {
		return *last
	}
	return ""
}

func (c *Cache) learn(key, set string) {
	if known, ok := c.known.GetIfPresent(key); !ok || known != set {
		c.known.Set(key, set)
	}
	if last := c.last.Load(); last == nil || *last != set {
		c.last.Store(&set)
	}
}

// Put stores an entry until its Keep is over, in one round trip.
func (c *Cache) Put(ctx context.Context, key string, e *cache.Entry) error {
	left := e.Keep - c.now().Sub(e.Received)
	if left < time.Millisecond {
		return nil
	}
	set := joinSet(e.Vary)
	keys := []string{cacheIndex(key), cacheVariant(key, set, slices.Clip(e.Selecting))}
	err := cachePut.Run(ctx, c.client, keys, set, encodeEntry(e), left.Milliseconds(), varySets).Err()
	if err != nil {
		return fmt.Errorf("put cache entry %s: %w", key, err)
	}
	c.learn(key, set)
	return nil
}

var _ cache.Finder = (*Cache)(nil)

// Find implements cache.Finder. It looks at every key, and reads the beginning of each entry.
func (c *Cache) Find(ctx context.Context, match func(url string) bool, found func(key string, e *cache.Entry) bool) error {
	found = inTurn(found)
	return scan(ctx, c.client, cachePrefix+"*"+variantInfix+"*", func(node *redis.Client, keys []string) (bool, error) {
		const begin = 1 + binary.MaxVarintLen64 + maxURL
		heads, err := pipelined(ctx, node, keys, func(p redis.Pipeliner, key string) *redis.StringCmd { return p.GetRange(ctx, key, 0, begin) })
		if err != nil {
			return false, err
		}
		var matching []string
		for i, head := range heads {
			if text, err := head.Bytes(); err == nil && match(entryURL(text)) {
				matching = append(matching, keys[i])
			}
		}
		for keys := range slices.Chunk(matching, 16) { // each may have a megabyte
			entries, err := pipelined(ctx, node, keys, func(p redis.Pipeliner, key string) *redis.StringCmd { return p.Get(ctx, key) })
			if err != nil {
				return false, err
			}
			for i, entry := range entries {
				text, _ := entry.Bytes() // nil: it has gone
				key, _, _ := strings.Cut(strings.TrimPrefix(keys[i], cachePrefix), variantInfix)
				if e, err := decodeEntry(text); err == nil && !e.Expired(c.now()) && !found(key, e) {
					return false, nil
				}
			}
		}
		return true, nil
	})
}
