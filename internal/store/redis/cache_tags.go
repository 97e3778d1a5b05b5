package redis

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/middleware/cache"
)

// cacheTags is the channel for changes of generations. It shares the slot of the key, so that in a
// cluster the node that makes the changes also publishes them: messages that nodes forward to each
// other can be lost unnoticed. The generations are fields of the epoch's hash: those of the current
// table by slot number, those of lost tables with the prefix wasField.
const (
	cacheTags = "gw:{epoch}:purges"
	wasField  = "was:"
)

// purgeTTL is how long the ID of a purge is remembered. A gateway that sends the purge again later
// than that purges once more.
const purgeTTL = 24 * time.Hour

// watchPing is how long a subscription may be silent before it is pinged.
const watchPing = 5 * time.Second

//go:embed cache_tags.lua
var cacheTagsSource string

var cacheTagsChange = redis.NewScript(epochSource + cacheTagsSource)

// CacheTags keeps the generations of the cache's tags in Redis.
type CacheTags struct {
	client redis.UniversalClient
}

var _ cache.Counters = (*CacheTags)(nil)

// NewCacheTags returns the counters on the client, which the caller closes.
func NewCacheTags(client redis.UniversalClient) *CacheTags { return &CacheTags{client} }

// Change makes all changes in one script and one round trip.
func (c *CacheTags) Change(ctx context.Context, base uint64, changes []cache.Change) (cache.Table, error) {
	keys, args := make([]string, 1, 1+len(changes)), make([]any, 0, 4+4*len(changes))
	keys[0] = epochKey
	args = append(args, cacheTags, epochTTL.Milliseconds(), purgeTTL.Milliseconds(), base)
	for _, ch := range changes {
		key := epochKey
		if ch.ID != "" {
			key += ":purge:" + ch.ID
		}
		keys, args = append(keys, key), append(args, ch.Slot, ch.Floor, ch.Add, ch.Above)
	}
	made, err := cacheTagsChange.Run(ctx, c.client, keys, args...).Text()
	if err != nil {
		return cache.Table{}, fmt.Errorf("change tag generations: %w", err)
	}
	t, ok := parseChange(made)
	if !ok || len(t.Marks) != len(changes) {
		return cache.Table{}, fmt.Errorf("change tag generations: %w", errReply)
	}
	return t, nil
}

// parseChange reads the table's base, the number of the change and its marks, as cache_tags.lua
// returns and publishes them: BASE SEQ SLOT:GEN….
func parseChange(text string) (t cache.Table, ok bool) {
	words := strings.Fields(text)
	if len(words) < 2 {
		return t, false
	}
	if t.Position, ok = parsePosition(words[0], words[1]); !ok {
		return t, false
	}
	for _, word := range words[2:] {
		slot, gen, _ := strings.Cut(word, ":")
		m, ok := parseMark(slot, gen)
		if !ok {
			return t, false
		}
		t.Marks = append(t.Marks, m)
	}
	return t, true
}

func parsePosition(base, seq string) (p cache.Position, ok bool) {
	var failed [2]error
	p.Base, failed[0] = strconv.ParseUint(base, 10, 64)
	p.Seq, failed[1] = strconv.ParseUint(seq, 10, 64)
	return p, errors.Join(failed[:]...) == nil
}

// Load reads the whole table.
func (c *CacheTags) Load(ctx context.Context) (cache.Table, error) {
	fields, err := c.client.HGetAll(ctx, epochKey).Result()
	if err != nil {
		return cache.Table{}, fmt.Errorf("load tag generations: %w", err)
	}
	t := cache.Table{Marks: make([]cache.Mark, 0, len(fields))}
	t.Position, _ = parsePosition(fields["base"], cmp.Or(fields["seq"], "0")) // zero: no table yet
	for slot, gen := range fields {
		if m, ok := parseMark(strings.TrimPrefix(slot, wasField), gen); ok {
			t.Marks = append(t.Marks, m)
		}
	}
	return t, nil
}

func parseMark(slot, gen string) (cache.Mark, bool) {
	s, err := strconv.ParseUint(slot, 10, 16)
	if err != nil {
		return cache.Mark{}, false
	}
	g, err := strconv.ParseUint(gen, 10, 64)
	return cache.Mark{Slot: uint16(s), Gen: g}, err == nil
}

// Watch listens on the channel. go-redis reconnects and resubscribes by itself; the server confirms
// each subscription.
func (c *CacheTags) Watch(ctx context.Context, connected func(), changed func(cache.Table)) error {
	sub := c.client.Subscribe(ctx, cacheTags)
	defer func() { _ = sub.Close() }()                         // there are no pending writes
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })() // ends a blocked Receive
	for silent := false; ctx.Err() == nil; {
		message, err := sub.ReceiveTimeout(ctx, watchPing)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && !silent {
			silent = true
			if err := sub.Ping(ctx); err != nil {
				return fmt.Errorf("watch tag generations: %w", err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("watch tag generations: %w", err)
		}
		silent = false
		switch m := message.(type) {
		case *redis.Subscription:
			connected()
		case *redis.Message:
			if t, ok := parseChange(m.Payload); ok {
				changed(t)
			}
		}
	}
	return ctx.Err()
}
