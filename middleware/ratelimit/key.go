package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// noAddress stands for the address of a peer on a unix socket, which has none.
const noAddress = "local"

// maxKey is the longest key that is kept as it is, in bytes. Longer ones are hashed, so that
// clients cannot make keys cost more.
const maxKey = 120

// values appends to room the parts of a limit's key, in the key's order. It returns false if the
// request lacks one.
func values(l *policy.Limit, ex *exchange.Exchange, room []string) ([]string, bool) {
	for _, s := range l.Key {
		v := part(s, l, ex)
		if v == "" {
			return nil, false
		}
		room = append(room, v)
	}
	return room, true
}

// bucket is where a limit counts the callers of one tier. Each tier of a key has its own bucket;
// see policy.Limit.TierOf.
type bucket struct {
	limit *policy.Limit
	tier  string // "": none
}

// name appends the common prefix of the tier's keys.
func (k bucket) name(b []byte) []byte {
	b = append(b, k.limit.Name...)
	if k.tier != "" {
		b = append(b, "|@"...)
		b = strconv.AppendInt(b, int64(len(k.tier)), 10)
		b = append(b, ':')
		b = append(b, k.tier...)
	}
	return b
}

// key returns the bucket for values. Parts are length-prefixed, so that different combinations
// never share a bucket.
func (k bucket) key(values []string) string {
	var room [maxKey]byte
	b := k.name(room[:0])
	plain := isPlain(k.tier) && !mayBeSecret(k.limit.Key)
	for _, v := range values {
		b = append(b, '|')
		b = strconv.AppendInt(b, int64(len(v)), 10)
		b = append(b, ':')
		b = append(b, v...)
		plain = plain && isPlain(v)
	}
	if plain && len(b) <= maxKey {
		return string(b)
	}
	sum := sha256.Sum256(b)
	return k.limit.Name + "|#" + hex.EncodeToString(sum[:])
}

// mayBeSecret reports whether a key may hold an API key or a token, which must appear neither in
// Redis nor in the list of the hottest keys.
func mayBeSecret(key []policy.Source) bool {
	return slices.ContainsFunc(key, func(s policy.Source) bool {
		return s.Kind == policy.SourceHeader || s.Kind == policy.SourceCookie
	})
}

// isPlain reports whether a value may stand in a key as it is: it is safe to print in a terminal.
func isPlain(v string) bool {
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// clientKey returns the bucket of a request that lacks the limit's key, where the policy counts its
// address instead.
func (k bucket) clientKey(client netip.Addr) string {
	var room [maxKey]byte
	return string(append(append(k.name(room[:0]), "|ip:"...), address(client, k.limit.IPv6Prefix)...))
}

func part(s policy.Source, l *policy.Limit, ex *exchange.Exchange) string {
	switch s.Kind {
	case policy.SourceClientIP:
		return address(ex.View.Client, l.IPv6Prefix)
	case policy.SourceSession:
		return ex.Principal.SessionID
	case policy.SourceSessionUser:
		return ex.Principal.User
	case policy.SourceHeader:
		for _, value := range ex.View.Header.Values(s.Name) {
			if value != "" { // as for cookies
				return value
			}
		}
	case policy.SourceCookie:
		for value := range policy.CookieValues(ex.View.Header, s.Name) {
			if value = strings.TrimSpace(value); value != "" { // an empty value must not hide a later one
				return value
			}
		}
	case policy.SourcePath:
		return ex.Params.Get(s.Name)
	case policy.SourceHost:
		return ex.View.Host
	}
	return ""
}

// address counts an IPv6 network as one client, since a client can use every address of its
// network. A peer on a unix socket has no address and counts as one client.
func address(a netip.Addr, bits int) string {
	if !a.IsValid() {
		return noAddress
	}
	if a.Is6() && bits < 128 {
		if p, err := a.Prefix(bits); err == nil {
			return p.String()
		}
	}
	return a.String()
}
