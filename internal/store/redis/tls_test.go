package redis_test

import (
	"maps"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

func TestTLSStores(t *testing.T) {
	t.Parallel()
	url := env.RedisTLS(t).URL
	stores(t, url, url)
}

// TestTLSReasons checks the reasons of a gateway that cannot connect.
func TestTLSReasons(t *testing.T) {
	t.Parallel()
	server, stranger, plain := env.RedisTLS(t), env.RedisTLS(t), env.Redis(t)
	own := url.Values{"tls_ca": {server.Client.CA}, "tls_cert": {server.Client.Cert}, "tls_key": {server.Client.Key}}
	with := func(pairs ...string) url.Values {
		v := url.Values{}
		maps.Copy(v, own)
		for i := 0; i < len(pairs); i += 2 {
			if v.Del(pairs[i]); pairs[i+1] != "" {
				v.Set(pairs[i], pairs[i+1])
			}
		}
		return v
	}
	// In TLS 1.3 a refused client may write before it reads the alert, which the reset then discards.
	const lost = "|connection reset|broken pipe"
	for _, tt := range []struct {
		name, base string
		query      url.Values
		want       string // the reason, as a regular expression; "": it connects
	}{
		{"everything in order", "rediss://" + server.Addr, own, ""},
		{"the certificate's other name", "rediss://" + server.Addr, with("tls_server_name", env.TLSServerName), ""},
		{"the client's certificate is left out", "rediss://" + server.Addr, with("tls_cert", "", "tls_key", ""), "certificate required" + lost},
		{"the client's certificate is from another CA", "rediss://" + server.Addr, with("tls_cert", stranger.Client.Cert, "tls_key", stranger.Client.Key), "certificate" + lost},
		{"the server's certificate is from another CA", "rediss://" + server.Addr, with("tls_ca", stranger.Client.CA), "certificate signed by unknown authority"},
		{"the system's roots do not include the CA", "rediss://" + server.Addr, with("tls_ca", ""), "certificate signed by unknown authority"},
		{"the server's certificate is for another name", "rediss://" + server.Addr, with("tls_server_name", "other.test"), "not other.test"},
		{"the server does not use TLS", "rediss://" + plain.Addr, own, "context deadline exceeded"},
		{"the server accepts TLS only", "redis://" + server.Addr, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, redis.Config{URL: tt.base + "?" + tt.query.Encode(), Budget: time.Second})
			if tt.want == "" && tt.query != nil {
				g.mustServe(t)
				return
			}
			g.mustTakeLocally(t)
			reason := g.mustBecome(t, failover.Down)
			if reason == nil || !regexp.MustCompile(tt.want).MatchString(reason.Error()) || redis.Classify(reason) < failover.Timeout {
				t.Errorf("reason: %v, want %q", reason, tt.want)
			}
		})
	}
}

func TestTLSFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	server := env.RedisTLS(t)
	empty := t.TempDir() + "/empty.pem"
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := server.Client
	for query, want := range map[string]string{
		"tls_ca=/no/such.pem":                          "tls_ca: open /no/such.pem",
		"tls_ca=" + empty:                              "tls_ca: no certificate in " + empty,
		"tls_cert=/no/such.pem&tls_key=" + c.Key:       "tls_cert and tls_key: open /no/such.pem",
		"tls_cert=" + c.Cert + "&tls_key=" + empty:     "tls_cert and tls_key: ",
		"tls_cert=" + c.Cert + "&tls_key=" + c.Cert:    "tls_cert and tls_key: ",
		"tls_ca=" + c.CA + "&tls_server_name=&db=1":    "its parameters may be",
		"tls_ca=" + c.CA + "&tls_insecure=1&db=hunter": "its parameters may be",
	} {
		client, err := redis.Open(redis.Config{URL: "rediss://:hunter2@" + server.Addr + "?" + query})
		if err == nil {
			client.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}

// TestTLSCertificatesAreRenewed replaces the client's certificate by one that the server rejects,
// and then restores it, while the gateway runs.
func TestTLSCertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	server, stranger := env.RedisTLS(t), env.RedisTLS(t)
	g := newGateway(t, redis.Config{URL: server.URL})
	g.mustBecome(t, failover.Up)
	files := []string{server.Client.Cert, server.Client.Key}
	var good [][]byte
	for i, other := range []string{stranger.Client.Cert, stranger.Client.Key} {
		good = append(good, read(t, files[i]))
		write(t, files[i], read(t, other))
	}
	since := g.Status().Generation
	server.Restart(true) // closes all connections
	if reason := g.mustBecome(t, failover.Down); reason == nil {
		t.Error("no reason")
	}
	for i, b := range good {
		write(t, files[i], b)
	}
	g.mustReturn(t, since, recovery)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
