package peers

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

func TestPlace(t *testing.T) {
	for _, c := range []struct{ address, want string }{
		{"10.0.0.1:9902", "10.0.0.1:9902"},
		{"10.0.0.1:09902", "10.0.0.1:9902"},
		{"localhost:9902", "127.0.0.1:9902"},
		{"LocalHost.:9902", "127.0.0.1:9902"},
		{"gw.localhost:9902", "127.0.0.1:9902"},
		{"[::ffff:127.0.0.1]:9902", "127.0.0.1:9902"},
		{"127.0.0.2:9902", "127.0.0.2:9902"},
		{"[::1]:9902", "[::1]:9902"},
		{"[FE80:0::0:1%eth0]:9902", "[fe80::1%eth0]:9902"},
		{"[2001:DB8:0:0:0:0:0:1]:9902", "[2001:db8::1]:9902"},
		{"GW-1.Example.org.:9902", "gw-1.example.org:9902"},
		{"::1:9902", ""},
		{"gw", ""},
		{"gw:", ""},
		{":9902", ""},
		{".:9902", ""},
		{"gw:0", ""},
		{"gw:http", ""},
		{"gw:65536", ""},
		{"", ""},
	} {
		if got := place(c.address); got != c.want {
			t.Errorf("place(%q) = %q, want %q", c.address, got, c.want)
		}
	}
}

// An address in any form is known once, and this gateway's own is never known.
func TestLearnKnowsAnAddressInAllItsForms(t *testing.T) {
	for _, c := range []struct{ why, self, first, second, want string }{
		{"a loopback name", "10.0.0.9:1", "localhost:5", "127.0.0.1:5", "127.0.0.1:5"},
		{"an IPv6 address", "10.0.0.9:1", "[2001:db8::1]:5", "[2001:DB8:0::1]:5", "[2001:DB8:0::1]:5"},
		{"an IPv4-mapped IPv6 address", "10.0.0.9:1", "10.0.0.1:5", "[::ffff:10.0.0.1]:5", "[::ffff:10.0.0.1]:5"},
		{"another loopback address", "10.0.0.9:1", "127.0.0.1:5", "127.0.0.2:5", "127.0.0.1:5 127.0.0.2:5"},
		{"this gateway's own, as a name", "127.0.0.1:1", "localhost:1", "LOCALHOST.:1", ""},
		{"this gateway's own, in another IPv6 form", "[2001:db8::1]:1", "[2001:DB8::0:1]:1", "10.0.0.1:1", "10.0.0.1:1"},
	} {
		t.Run(c.why, func(t *testing.T) {
			a := newNetwork(t).node(t, "a", func(cfg *Config) {
				cfg.Self, cfg.wrap = func() Peer { return Peer{ID: "a", Address: c.self} }, refuse
			})
			a.Learn([]Peer{{ID: "b", Address: c.first, Started: epoch}, {ID: "c", Address: c.second, Started: epoch.Add(1)}})
			var got []string
			for _, s := range a.Known() {
				got = append(got, s.Address)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("known peers %v, want %s", got, c.want)
			}
		})
	}
}

// Another name of this gateway cannot be found by comparing addresses; it is dropped when it
// answers.
func TestAnotherNameOfThisGatewayIsDropped(t *testing.T) {
	net := newNetwork(t)
	a := net.node(t, "a", func(c *Config) {
		self := c.Self
		c.wrap = func(next http.RoundTripper) http.RoundTripper {
			return renamed{wire{net, self, next}, "alias.example:1", self().Address}
		}
	})
	b := net.node(t, "b")
	meet(a, b)
	a.Learn([]Peer{{ID: "before", Address: "alias.example:1", Started: epoch.Add(-1)}})
	env.Until(t, "the other name is dropped", func() bool { return len(a.Known()) == 1 && a.Known()[0].ID == "b" })
}

// renamed is a name server with one name.
type renamed struct {
	wire
	name, address string
}

func (r renamed) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host == r.name {
		req.URL.Host = r.address
	}
	return r.wire.RoundTrip(req)
}
