package middleware

import (
	"iter"
	"net/http"
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

// originOf tells who the client is, and whether it speaks encrypted, by what a
// trusted peer says of those that it speaks for. Who does not trust the peer gets
// the peer. Fields of the older kind come first: proxies that write them pass
// Forwarded on as it came.
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

// clientAddr finds the client behind trusted proxies: the right-most address that
// is not a trusted proxy. What stands left of it was written by the client and
// says nothing. Something unreadable ends the search. position counts from the
// right; -1: the peer itself.
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

// schemeAt gives the scheme at the position that the client has among so many
// addresses, the peer's own where that is nobody's, or the first one where there
// are not as many schemes.
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

// fromTheRight yields the elements of a list that may stand in several fields.
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

// count is how many elements such a list has.
func count(fields []string) (n int) {
	for _, f := range fields {
		n += 1 + strings.Count(f, ",")
	}
	return n
}

// forwarded reads the addresses and schemes out of Forwarded (RFC 7239, 4), one of
// each for every proxy on the way; "" is one that it does not tell.
func forwarded(fields []string) (addresses, schemes []string) {
	for _, field := range fields {
		for field != "" {
			var element string
			var closed bool
			if element, field, closed = cutQuoted(field, ','); !closed {
				element = "" // of the proxy's own words and the client's it cannot be told which is which
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

// cutQuoted cuts s at the first separator outside of quotes. closed reports whether
// every quote before it is.
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

// unquote takes the quotes off. What is escaped within is neither in an address
// nor in a scheme, and a comma there would make two of one.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if strings.Contains(s, ",") {
		return ""
	}
	return s
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
