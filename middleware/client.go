package middleware

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/jewgo/gateway/policy"
)

// peerAddr parses net/http's RemoteAddr. IPv4-mapped IPv6 is IPv4, and zones
// are dropped, so that one peer has one spelling. A peer without an address (a
// unix socket) is the zero Addr.
func peerAddr(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func trusted(a netip.Addr, proxies []policy.Prefix) bool {
	for _, p := range proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// clientAddr finds the client behind trusted proxies: the right-most address of
// X-Forwarded-For that is not a trusted proxy. What stands left of it was
// written by the client and says nothing. Something unreadable ends the search.
func clientAddr(peer netip.Addr, forwarded []string, proxies []policy.Prefix) netip.Addr {
	if !trusted(peer, proxies) {
		return peer
	}
	client := peer
	for _, rest := range slices.Backward(forwarded) {
		for rest != "" {
			var hop string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				rest, hop = "", rest
			}
			a, ok := parseHop(strings.TrimSpace(hop))
			if !ok {
				return client
			}
			client = a
			if !trusted(a, proxies) {
				return client
			}
		}
	}
	return client
}

// parseHop reads an address as proxies write it: bare, with a port, or in
// brackets.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}
