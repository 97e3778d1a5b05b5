package middleware

import (
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/jewgo/gateway/policy"
)

// peerAddr parses net/http's RemoteAddr. It unmaps IPv4-mapped IPv6 and drops zones, so that one
// peer has one spelling. A peer without an address (on a unix socket) is the zero Addr.
func peerAddr(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func trusted(a netip.Addr, proxies []policy.Prefix) bool {
	return slices.ContainsFunc(proxies, func(p policy.Prefix) bool { return p.Contains(a) })
}

// originOf returns the client's address and whether its connection is encrypted, as reported by a
// trusted peer. If the peer is not trusted, it is the client. The X-Forwarded fields come first:
// proxies that write them pass Forwarded on unchanged.
func originOf(peer netip.Addr, believed bool, h http.Header, proxies []policy.Prefix) (client netip.Addr, encrypted bool) {
	if !believed {
		return peer, false
	}
	addresses, schemes := h["X-Forwarded-For"], h["X-Forwarded-Proto"]
	if len(addresses) == 0 && len(schemes) == 0 && len(h["Forwarded"]) > 0 {
		addresses, schemes = forwarded(h["Forwarded"])
	}
	client, position := clientAddr(peer, addresses, proxies)
	scheme := strings.TrimSpace(schemeAt(schemes, position, count(addresses)))
	return client, strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "wss")
}

// clientAddr finds the client behind trusted proxies: the right-most address that is not a trusted
// proxy. Addresses to its left come from the client and are ignored. An unreadable address ends the
// search. position counts from the right; -1: the client is the peer.
func clientAddr(peer netip.Addr, addresses []string, proxies []policy.Prefix) (client netip.Addr, position int) {
	client, position = peer, -1
	for hop := range fromTheRight(addresses) {
		a, ok := parseHop(strings.TrimSpace(hop))
		if !ok {
			break
		}
		client = a
		position++
		if !trusted(a, proxies) {
			break
		}
	}
	return client, position
}

// schemeAt returns the scheme at the client's position among so many addresses. For position -1 it
// is the peer's own; if the numbers of schemes and addresses differ, the first one.
func schemeAt(schemes []string, position, addresses int) (scheme string) {
	if count(schemes) != addresses {
		position = count(schemes) - 1
	}
	for scheme = range fromTheRight(schemes) {
		if position <= 0 {
			break
		}
		position--
	}
	return scheme
}

// fromTheRight yields the elements of a list in one or more fields, the last one first.
func fromTheRight(fields []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, rest := range slices.Backward(fields) {
			for more := true; more; {
				comma := strings.LastIndexByte(rest, ',')
				if !yield(rest[comma+1:]) {
					return
				}
				if more = comma >= 0; more {
					rest = rest[:comma]
				}
			}
		}
	}
}

// count is the number of elements in such a list.
func count(fields []string) (n int) {
	for _, f := range fields {
		n += 1 + strings.Count(f, ",")
	}
	return n
}

// forwarded parses the addresses and schemes in Forwarded (RFC 7239, 4), one of each for every
// proxy; "": not given.
func forwarded(fields []string) (addresses, schemes []string) {
	for _, field := range fields {
		for field != "" {
			var element string
			var closed bool
			if element, field, closed = cutQuoted(field, ','); !closed {
				element = "" // the proxy's own text cannot be told from the client's
			}
			var address, scheme string
			for element != "" {
				var pair string
				pair, element, _ = cutQuoted(element, ';')
				name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
				switch strings.ToLower(name) {
				case "for":
					address = unquote(value)
				case "proto":
					scheme = unquote(value)
				}
			}
			addresses, schemes = append(addresses, address), append(schemes, scheme)
		}
	}
	return addresses, schemes
}

// cutQuoted cuts s at the first separator outside quotes. closed reports whether all quotes before
// it are closed.
func cutQuoted(s string, separator byte) (before, after string, closed bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == separator && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", !quoted
}

// unquote removes quotes. Addresses and schemes need no escapes, and a comma in quotes would turn
// one value into two.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if strings.Contains(s, ",") {
		return ""
	}
	return s
}

// parseHop parses an address as proxies write it: bare, with a port, or in brackets.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}
