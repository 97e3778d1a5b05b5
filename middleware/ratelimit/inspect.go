package ratelimit

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy"
)

// ErrKey says that a key does not fit its limit.
var ErrKey = errors.New("the key does not fit the limit")

// BucketOf is a bucket of a key.
type BucketOf struct {
	Tier  string // of those whom it counts; "": of none
	Key   string
	Quota gcra.Quota
}

// BucketsOf gives the buckets that a limit counts values in, for people: the
// parts of its key in their order, an address as it is, or ip: and an address for
// those who are counted by it since they lack the key. A limit with tiers has one
// for each beside its own, which is the first; a key with an override has that
// alone.
func BucketsOf(l *policy.Limit, parts []string) ([]BucketOf, error) {
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

// valuesOf reads the parts of a key as requests have them, and the address among
// them. Without values the key is that address, for lack of another.
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
			return nil, client, fmt.Errorf("%w: no request has an empty part", ErrKey)
		}
	}
	return values, client, nil
}

// addressOf reads an address as address writes it, or any other of a network.
func addressOf(text string) (netip.Addr, error) {
	if text == noAddress {
		return netip.Addr{}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		text = p.Addr().String()
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%w: %q is no address", ErrKey, text)
	}
	return a.Unmap(), nil
}

// Known tells what is known here of a bucket; false: nothing.
func (l *Limiter) Known(key string) (k gcra.Known, ok bool) {
	now := l.at(l.cfg.Now())
	ok = l.cfg.Local.Peek(key, func(b *gcra.Bucket) { k = b.Known(now) })
	return k, ok
}

// Forget makes a bucket full here, and ends its lease and what the shared store
// was known to refuse.
func (l *Limiter) Forget(key string) { l.cfg.Local.Forget(key) }
