package peers

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// place normalises a host:port, so that two addresses of the same socket become the same string, as
// far as that is possible without a look-up. It returns "" if the host is empty or the port is not
// a number. Two names of one host remain two places; outbox.hello finds out that they are the same.
func place(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String() // one form for each IPv6 address
	} else if host = strings.ToLower(strings.TrimSuffix(host, ".")); host == "localhost" || strings.HasSuffix(host, ".localhost") {
		host = "127.0.0.1" // RFC 6761, 6.3
	}
	if host == "" {
		return ""
	}
	return net.JoinHostPort(host, strconv.FormatUint(number, 10))
}
