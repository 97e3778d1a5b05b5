package middleware

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/jewgo/gateway/policy"
)

// A proxy appends its element after what the client wrote. A quote that the client opens, and does
// not close, must not turn the proxy's element into a part of the client's.
func TestForwardedWithAnOpenQuote(t *testing.T) {
	peer := netip.MustParseAddr("127.0.0.1")
	proxies := []policy.Prefix{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}
	for _, field := range []string{
		`for=6.6.6.6;x=", for=192.0.2.7;proto=http`,
		`for=6.6.6.6;x=", for="192.0.2.7:80";proto=http`,
		`for=6.6.6.6;x=", for="[2001:db8::7]:80";proto=http`,
		`for=6.6.6.6;proto=https;by=", for="[2001:db8::7]";proto=http`,
		`for=6.6.6.6;proto=https;by="\, for=192.0.2.7;proto=http`,
	} {
		client, encrypted := originOf(peer, true, http.Header{"Forwarded": {field}}, proxies)
		if client == netip.MustParseAddr("6.6.6.6") || encrypted {
			t.Errorf("%s: the client is taken for %s, encrypted %v", field, client, encrypted)
		}
	}
}

func TestOddForwarded(t *testing.T) {
	peer := netip.MustParseAddr("127.0.0.1")
	proxies := []policy.Prefix{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}
	for _, tt := range []struct {
		h      http.Header
		client string
		tls    bool
	}{
		{http.Header{"Forwarded": {`For="[2001:db8::7%25eth0]:99";Proto=HTTPS`}}, "2001:db8::7", true},
		{http.Header{"Forwarded": {`for=_hidden;proto=https`}}, "127.0.0.1", true},
		{http.Header{"Forwarded": {``, `,`, `;`, `for`, `=`}}, "127.0.0.1", false},
		{http.Header{"Forwarded": {`for=1.2.3.4`, `for=unknown`}}, "127.0.0.1", false},
		{http.Header{"X-Forwarded-For": {"1.2.3.4, fe80::1%eth0"}}, "fe80::1", false},
		{http.Header{"X-Forwarded-For": {"1.2.3.4, fe80::1%a,b"}}, "127.0.0.1", false},
	} {
		client, encrypted := originOf(peer, true, tt.h, proxies)
		if client.String() != tt.client || encrypted != tt.tls {
			t.Errorf("%v: %s %v", tt.h, client, encrypted)
		}
	}
}

func BenchmarkLongForwarded(b *testing.B) {
	peer := netip.MustParseAddr("127.0.0.1")
	proxies := []policy.Prefix{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}
	for name, h := range map[string]http.Header{
		"xff":       {"X-Forwarded-For": {strings.Repeat("127.0.0.1,", 10000) + "127.0.0.1"}, "X-Forwarded-Proto": {strings.Repeat("https,", 10000) + "https"}},
		"forwarded": {"Forwarded": {strings.Repeat("for=127.0.0.1,", 10000) + "for=127.0.0.1"}},
		"commas":    {"Forwarded": {strings.Repeat(",", 60000)}},
		"fields":    {"X-Forwarded-For": strings.Split(strings.Repeat("127.0.0.1,", 10000), ",")},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				originOf(peer, true, h, proxies)
			}
		})
	}
}
