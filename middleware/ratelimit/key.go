package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// maxKey is the longest key kept as it is; what a client can make longer is
// hashed, so that no key costs more than this.
const maxKey = 120

// key gives the bucket of a limit that a request falls into, or false if the
// request lacks a part of it. Parts are length-prefixed: no two different
// combinations share a bucket.
func key(l *policy.Limit, ex *exchange.Exchange) (string, bool) {
	var b strings.Builder
	b.WriteString(l.Name)
	for _, s := range l.Key {
		v := part(s, l, ex)
		if v == "" {
			return "", false
		}
		b.WriteByte('|')
		b.WriteString(strconv.Itoa(len(v)))
		b.WriteByte(':')
		b.WriteString(v)
	}
	if b.Len() <= maxKey {
		return b.String(), true
	}
	sum := sha256.Sum256([]byte(b.String()))
	return l.Name + "|#" + hex.EncodeToString(sum[:]), true
}

// clientKey is the bucket of a request that lacks the limit's own key where the
// policy says that its address counts instead.
func clientKey(l *policy.Limit, ex *exchange.Exchange) string {
	return l.Name + "|ip:" + address(ex.View.Client, l.IPv6Prefix)
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
		return ex.View.Header.Get(s.Name)
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
		return "local"
	}
	if a.Is6() && bits < 128 {
		if p, err := a.Prefix(bits); err == nil {
			return p.String()
		}
	}
	return a.String()
}
