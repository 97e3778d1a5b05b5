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

// noAddress stands for the address of a peer that has none, on a unix socket.
const noAddress = "local"

// maxKey is the longest key kept as it is; what a client can make longer is
// hashed, so that no key costs more than this.
const maxKey = 120

// values gives the parts of a limit's key that a request has, in the order of
// the key and appended to room, or false if it lacks one.
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

// bucket is where a limit counts the callers of one tier. Each tier of a key has
// its own, as policy.Limit.TierOf says.
type bucket struct {
	limit *policy.Limit
	tier  string // "": none
}

// name appends what all keys of these callers begin with.
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

// key gives the bucket that values fall into. Parts are length-prefixed: no two
// different combinations share a bucket.
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

// mayBeSecret reports whether a key may be one in the other sense, an API key or
// a token: neither Redis nor whoever lists the hottest keys needs to know it.
func mayBeSecret(key []policy.Source) bool {
	return slices.ContainsFunc(key, func(s policy.Source) bool {
		return s.Kind == policy.SourceHeader || s.Kind == policy.SourceCookie
	})
}

// isPlain reports whether a value may stand in a key as it is, which a person may
// see in a terminal.
func isPlain(v string) bool {
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// clientKey is the bucket of a request that lacks the limit's own key where the
// policy says that its address counts instead.
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
			if value != "" { // as with cookies
				return value
			}
		}
	case policy.SourceCookie:
		for value := range policy.CookieValues(ex.View.Header, s.Name) {
			if value = strings.TrimSpace(value); value != "" { // an empty one in front must not hide it
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

// address counts an IPv6 network as one client, since whoever has one address
// of it has them all. A peer on a unix socket has no address and is one client.
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
