package peers

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// place gives the form of a host:port in which two addresses that lead to the
// same socket are the same string, as far as that shows without asking anyone:
// of a name that is "" or a port that is no number it gives "". Two names of one
// host stay two places; what is found there tells (outbox.hello).
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
