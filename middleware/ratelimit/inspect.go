package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy"
)

// ErrKey means that a key does not fit its limit.
var ErrKey = errors.New("the key does not fit the limit")

// BucketOf is one bucket of a key.
type BucketOf struct {
	Tier  string     // the tier that it counts; "": none
	Key   string     // as Charge.Key
	Quota gcra.Quota // zero: unknown, since a hash hides tier and override
}

// LimitOf returns the name of a bucket's limit. key is a Charge.Key.
func LimitOf(key string) string {
	name, _, _ := strings.Cut(key, "|")
	return name
}

// BucketsOf returns the buckets in which a limit counts the given key parts, as an operator writes
// them: the parts in the key's order, addresses in plain form, or "ip:" and an address for requests
// that lack the key and are counted by address. The limit's own bucket comes first, then one for
// each tier; a key with an override has only that bucket. A single part may also be a Charge.Key,
// which then is the only result.
func BucketsOf(l *policy.Limit, parts []string) ([]BucketOf, error) {
	if len(parts) == 1 {
		if b, ok := bucketNamed(l, parts[0]); ok {
			return []BucketOf{b}, nil
		}
	}
	values, client, err := valuesOf(l, parts)
	if err != nil {
		return nil, err
	}
	name := func(tier string) string {
		if values == nil {
			return bucket{l, tier}.clientKey(client)
		}
		return bucket{l, tier}.key(values)
	}
	if q, ok := l.OverrideOf(client, values...); ok {
		return []BucketOf{{Key: name(""), Quota: q}}, nil
	}
	all := []BucketOf{{Key: name(""), Quota: l.Quota}}
	for _, t := range l.Tiers {
		all = append(all, BucketOf{t.Name, name(t.Name), t.Quota})
	}
	return all, nil
}

// bucketNamed parses what bucket.key and bucket.clientKey write.
func bucketNamed(l *policy.Limit, key string) (b BucketOf, ok bool) {
	rest, ok := strings.CutPrefix(key, l.Name+"|")
	if !ok {
		return b, false
	}
	b.Key = key
	if sum, hashed := strings.CutPrefix(rest, "#"); hashed {
		if len(l.Tiers) == 0 && !l.HasOverrides() {
			b.Quota = l.Quota
		}
		return b, len(sum) == hex.EncodedLen(sha256.Size)
	}
	if tier, tiered := strings.CutPrefix(rest, "@"); tiered {
		if b.Tier, rest, ok = cutPart(tier); !ok {
			return b, false
		}
	}
	var values []string
	var client netip.Addr
	var err error
	written := ""
	if text, byAddress := strings.CutPrefix(rest, "ip:"); byAddress {
		client, err = addressOf(text)
		written = bucket{l, b.Tier}.clientKey(client)
	} else {
		for v := ""; ok && rest != ""; values = append(values, v) {
			v, rest, ok = cutPart(rest)
		}
		if !ok || len(values) != len(l.Key) {
			return b, false
		}
		for i, s := range l.Key {
			if s.Kind == policy.SourceClientIP {
				client, err = addressOf(values[i])
			}
		}
		written = bucket{l, b.Tier}.key(values)
	}
	b.Quota, ok = quotaIn(l, b.Tier, client, values)
	return b, ok && err == nil && written == key
}

// cutPart cuts a length-prefixed part, which ends at a "|" or at the end of text.
func cutPart(text string) (part, rest string, ok bool) {
	digits, rest, ok := strings.Cut(text, ":")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || n > len(rest) {
		return "", "", false
	}
	part, rest = rest[:n], rest[n:]
	if rest == "" {
		return part, "", true
	}
	rest, ok = strings.CutPrefix(rest, "|")
	return part, rest, ok
}

// quotaIn is the quota of a key's bucket for a tier; false: there is no such tier.
func quotaIn(l *policy.Limit, tier string, client netip.Addr, values []string) (gcra.Quota, bool) {
	if tier == "" {
		if q, ok := l.OverrideOf(client, values...); ok {
			return q, true
		}
		return l.Quota, true
	}
	for _, t := range l.Tiers {
		if t.Name == tier {
			return t.Quota, true
		}
	}
	return gcra.Quota{}, false
}

// valuesOf normalizes the parts of a key as requests do, and returns the address among them. Nil
// values mean that the address alone is the key.
func valuesOf(l *policy.Limit, parts []string) (values []string, client netip.Addr, err error) {
	if len(parts) == 1 && l.Missing == policy.MissingClientIP {
		if text, ok := strings.CutPrefix(parts[0], "ip:"); ok || len(l.Key) > 1 {
			client, err = addressOf(text)
			return nil, client, err
		}
	}
	if len(parts) != len(l.Key) {
		return nil, client, fmt.Errorf("%w: limit %q has %d parts", ErrKey, l.Name, len(l.Key))
	}
	values = make([]string, len(parts))
	for i, s := range l.Key {
		switch values[i] = parts[i]; s.Kind {
		case policy.SourceClientIP:
			if client, err = addressOf(parts[i]); err != nil {
				return nil, client, err
			}
			values[i] = address(client, l.IPv6Prefix)
		case policy.SourceHost:
			values[i] = policy.NormalHost(parts[i])
		}
		if values[i] == "" {
			return nil, client, fmt.Errorf("%w: a part of the key is empty", ErrKey)
		}
	}
	return values, client, nil
}

// addressOf parses an address, or a network as address writes it.
func addressOf(text string) (netip.Addr, error) {
	if text == noAddress {
		return netip.Addr{}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		text = p.Addr().String()
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%w: %q is not an address", ErrKey, text)
	}
	return a.Unmap(), nil
}

// State returns what this gateway knows of a bucket; false: nothing.
func (l *Limiter) State(key string) (s gcra.State, ok bool) {
	now := l.at(l.cfg.Now())
	ok = l.cfg.Local.Peek(key, func(b *gcra.Bucket) { s = b.State(now) })
	return s, ok
}

// Forget makes a bucket full on this gateway. It ends its lease and forgets the refusals of the
// shared store.
func (l *Limiter) Forget(key string) { l.cfg.Local.Forget(key) }

// Resets tells of buckets that were made full on any gateway.
type Resets interface {
	// News lists the keys that it was told of since the last call. ctx bounds it.
	News(ctx context.Context) ([]string, error)
}

// HearEvery is how often Hear asks: within this time every connected gateway knows of a
// reset.
const HearEvery = time.Second

// Hear forgets the buckets that resets tells of, until ctx is done.
func (l *Limiter) Hear(ctx context.Context, resets Resets) {
	ticks := time.NewTicker(HearEvery)
	defer ticks.Stop()
	for {
		if l.cfg.Switch.Up() {
			call, cancel := context.WithTimeout(ctx, HearEvery)
			// The Switch reports a store that fails; what was told is kept there.
			keys, _ := resets.News(call)
			cancel()
			for _, k := range keys {
				l.Forget(k)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}
