package middleware

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/jewgo/gateway/policy"
)

var testProxies = func() (all []policy.Prefix) {
	for _, s := range []string{"127.0.0.1", "10.0.0.0/8", "2001:db8::/32"} {
		var p policy.Prefix
		if err := p.UnmarshalText([]byte(s)); err != nil {
			panic(err)
		}
		all = append(all, p)
	}
	return all
}()

func TestClientAddr(t *testing.T) {
	for _, tc := range []struct {
		sentence, peer string
		forwarded      []string
		want           string
	}{
		{"an untrusted peer is not believed", "203.0.113.9:1000", []string{"198.51.100.1"}, "203.0.113.9"},
		{"a trusted proxy is believed", "127.0.0.1:1000", []string{"198.51.100.1"}, "198.51.100.1"},
		{"the right-most untrusted address is the client", "127.0.0.1:1", []string{"6.6.6.6, 198.51.100.1, 10.1.2.3"}, "198.51.100.1"},
		{"several fields form one list", "127.0.0.1:1", []string{"6.6.6.6", "198.51.100.1", "10.1.2.3"}, "198.51.100.1"},
		{"only proxies: the left-most of them", "127.0.0.1:1", []string{"10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
		{"no field: the proxy itself", "127.0.0.1:1", nil, "127.0.0.1"},
		{"garbage ends the search", "127.0.0.1:1", []string{"198.51.100.1, what"}, "127.0.0.1"},
		{"IPv4-mapped IPv6 is IPv4", "[::ffff:127.0.0.1]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"IPv6 in brackets with a port", "[2001:db8::1]:1", []string{"[2001:41d0::7]:443"}, "2001:41d0::7"},
		{"an address with a port", "127.0.0.1:1", []string{"198.51.100.1:5678"}, "198.51.100.1"},
		{"a zone is dropped", "[fe80::1%eth0]:1", nil, "fe80::1"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			got, _ := originOf(peerAddr(tc.peer), trusted(peerAddr(tc.peer), testProxies), http.Header{"X-Forwarded-For": tc.forwarded}, testProxies)
			if got != netip.MustParseAddr(tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// The same proxy reports the client's address and whether its connection is encrypted.
func TestOrigin(t *testing.T) {
	const stranger, proxy = "203.0.113.9:1", "127.0.0.1:1"
	h := func(fields ...string) http.Header {
		header := http.Header{}
		for i := 0; i < len(fields); i += 2 {
			header.Add(fields[i], fields[i+1])
		}
		return header
	}
	for _, tc := range []struct {
		sentence, peer string
		header         http.Header
		client         string
		tls            bool
	}{
		{"an untrusted peer is not believed", stranger, h("X-Forwarded-Proto", "https", "Forwarded", "for=6.6.6.6;proto=https"), "203.0.113.9", false},
		{"a proxy is believed", proxy, h("X-Forwarded-Proto", "https"), "127.0.0.1", true},
		{"in any case", proxy, h("X-Forwarded-Proto", "HTTPS"), "127.0.0.1", true},
		{"http is not encrypted", proxy, h("X-Forwarded-Proto", "http"), "127.0.0.1", false},
		{"a WebSocket's scheme", proxy, h("X-Forwarded-Proto", "wss"), "127.0.0.1", true},
		{"a plain WebSocket's scheme", proxy, h("X-Forwarded-Proto", "ws"), "127.0.0.1", false},
		{"the scheme at the client's position", proxy, h("X-Forwarded-For", "6.6.6.6, 198.51.100.1, 10.1.1.1", "X-Forwarded-Proto", "http, https, http"), "198.51.100.1", true},
		{"over several fields", proxy, h("X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "198.51.100.1", "X-Forwarded-Proto", "http", "X-Forwarded-Proto", "https"), "198.51.100.1", true},
		{"not what the client claims", proxy, h("X-Forwarded-For", "6.6.6.6, 198.51.100.1", "X-Forwarded-Proto", "https, http"), "198.51.100.1", false},
		{"the first if the counts differ", proxy, h("X-Forwarded-For", "198.51.100.1", "X-Forwarded-Proto", "https, http"), "198.51.100.1", true},
		{"the first if there are fewer", proxy, h("X-Forwarded-For", "198.51.100.1, 10.1.1.1", "X-Forwarded-Proto", "https"), "198.51.100.1", true},
		{"Forwarded has both", proxy, h("Forwarded", "for=198.51.100.1;proto=https;by=10.0.0.1"), "198.51.100.1", true},
		{"in any case, quoted or not, with spaces", proxy, h("Forwarded", `For="198.51.100.1:4711" ; PROTO="HTTPS"`), "198.51.100.1", true},
		{"an IPv6 address", proxy, h("Forwarded", `for="[2001:41d0::7]:4711"`), "2001:41d0::7", false},
		{"the client's element of several hops", proxy, h("Forwarded", "for=6.6.6.6;proto=https, for=198.51.100.1;proto=http, for=10.1.1.1;proto=https"), "198.51.100.1", false},
		{"over several fields", proxy, h("Forwarded", "for=6.6.6.6", "Forwarded", "for=198.51.100.1;proto=https"), "198.51.100.1", true},
		{"quotes may contain commas and semicolons", proxy, h("Forwarded", `for=6.6.6.6;x="a,b;proto=http\"", for=198.51.100.1;proto=https`), "198.51.100.1", true},
		{"an obfuscated name ends the search", proxy, h("Forwarded", "for=198.51.100.1, for=_hidden;proto=https"), "127.0.0.1", true},
		{"X-Forwarded fields come first: proxies that set them pass Forwarded through", proxy, h("Forwarded", "for=6.6.6.6;proto=https", "X-Forwarded-For", "198.51.100.1"), "198.51.100.1", false},
		{"nonsense yields the peer", proxy, h("Forwarded", `;;,for;="`), "127.0.0.1", false},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			peer := peerAddr(tc.peer)
			client, tls := originOf(peer, trusted(peer, testProxies), tc.header, testProxies)
			if client != netip.MustParseAddr(tc.client) || tls != tc.tls {
				t.Errorf("got %v, %v; want %v, %v", client, tls, tc.client, tc.tls)
			}
		})
	}
}

func TestOriginAllocatesNothing(t *testing.T) {
	header := http.Header{"X-Forwarded-For": {"198.51.100.1, 10.1.1.1"}, "X-Forwarded-Proto": {"https, http"}}
	peer := peerAddr("127.0.0.1:1")
	if n := testing.AllocsPerRun(100, func() { originOf(peer, true, header, testProxies) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
