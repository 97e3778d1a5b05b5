package middleware

import (
	"net/netip"
	"testing"

	"github.com/jewgo/gateway/policy"
)

func TestClientAddr(t *testing.T) {
	var proxies []policy.Prefix
	for _, s := range []string{"127.0.0.1", "10.0.0.0/8", "2001:db8::/32"} {
		var p policy.Prefix
		if err := p.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		proxies = append(proxies, p)
	}
	for _, tc := range []struct {
		sentence, peer string
		forwarded      []string
		want           string
	}{
		{"a stranger is believed nothing", "203.0.113.9:1000", []string{"198.51.100.1"}, "203.0.113.9"},
		{"a trusted proxy is believed", "127.0.0.1:1000", []string{"198.51.100.1"}, "198.51.100.1"},
		{"the right-most stranger is the client", "127.0.0.1:1", []string{"6.6.6.6, 198.51.100.1, 10.1.2.3"}, "198.51.100.1"},
		{"fields are one list", "127.0.0.1:1", []string{"6.6.6.6", "198.51.100.1", "10.1.2.3"}, "198.51.100.1"},
		{"only proxies: the first of them", "127.0.0.1:1", []string{"10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
		{"no field: the proxy itself", "127.0.0.1:1", nil, "127.0.0.1"},
		{"garbage ends the search", "127.0.0.1:1", []string{"198.51.100.1, what"}, "127.0.0.1"},
		{"IPv4-mapped IPv6 is IPv4", "[::ffff:127.0.0.1]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"IPv6 in brackets with a port", "[2001:db8::1]:1", []string{"[2001:41d0::7]:443"}, "2001:41d0::7"},
		{"an address with a port", "127.0.0.1:1", []string{"198.51.100.1:5678"}, "198.51.100.1"},
		{"a zone is dropped", "[fe80::1%eth0]:1", nil, "fe80::1"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			if got := clientAddr(peerAddr(tc.peer), tc.forwarded, proxies); got != netip.MustParseAddr(tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
