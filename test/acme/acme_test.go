package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/jewgo/gateway/test/env"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"),
		// certmagic's end seconds after a lock's release, or never.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
	)
}

// client obtains certificates by certmagic.
type client struct {
	t      *testing.T
	config *certmagic.Config
}

// newClient returns a client that solves challenges at the server's ports, of which one is 0.
func newClient(t *testing.T, s *Server) *client {
	t.Helper()
	ca, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	c := &client{t: t}
	cache := certmagic.NewCache(certmagic.CacheOptions{
		Logger:           zap.NewNop(),
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return c.config, nil },
	})
	t.Cleanup(cache.Stop)
	c.config = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: t.TempDir()}, Logger: zap.NewNop(),
	})
	c.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(c.config, certmagic.ACMEIssuer{
		CA: s.Directory, Agreed: true, Email: "admin@gateway.test", TrustedRoots: trusted, Logger: zap.NewNop(),
		ListenHost: "127.0.0.1", AltHTTPPort: s.cfg.HTTPPort, AltTLSALPNPort: s.cfg.TLSPort,
		DisableHTTPChallenge: s.cfg.HTTPPort == 0, DisableTLSALPNChallenge: s.cfg.TLSPort == 0,
	})}
	return c
}

// obtain gets a new certificate for a name.
func (c *client) obtain(name string) (*x509.Certificate, *x509.CertPool, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	if err := c.config.ObtainCertSync(ctx, name); err != nil {
		return nil, nil, err
	}
	got, err := c.config.CacheManagedCertificate(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	return got.Leaf, rest(c.t, got.Certificate), nil
}

// rest returns the certificates that follow a leaf.
func rest(t *testing.T, chain tls.Certificate) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for _, der := range chain.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		pool.AddCert(cert)
	}
	return pool
}

// expect obtains a certificate and checks it.
func (c *client) expect(s *Server, name string) {
	c.t.Helper()
	before := s.Orders()
	leaf, chain, err := c.obtain(name)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: s.Roots(), Intermediates: chain}); err != nil {
		c.t.Error(err)
	}
	if lived := leaf.NotAfter.Sub(leaf.NotBefore); lived != s.cfg.Lifetime-time.Second {
		c.t.Errorf("from NotBefore to NotAfter: %v", lived)
	}
	if got := s.Orders() - before; got != 1 {
		c.t.Errorf("%d orders arrived, not one", got)
	}
}

func port(t *testing.T) int {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort("127.0.0.1", env.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	return addr.Port
}

func TestServer(t *testing.T) {
	for _, c := range []struct {
		why  string
		zone string // of this row alone: certmagic keeps one challenge a name for the whole process
		cfg  Config
	}{
		{"HTTP-01", ".http.test", Config{Lifetime: 30 * time.Second, HTTPPort: port(t)}},
		{"TLS-ALPN-01", ".tls.test", Config{Lifetime: time.Hour, TLSPort: port(t)}},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			s := Start(t, c.cfg)
			client := newClient(t, s)
			client.expect(s, "a"+c.zone)

			s.Stop()
			if _, _, err := client.obtain("b" + c.zone); err == nil {
				t.Error("a certificate from a server that is down")
			}
			s.Restart()
			client.expect(s, "b"+c.zone)

			before := s.Roots()
			s.Forget()
			if s.Roots().Equal(before) {
				t.Error("the CA is the same")
			}
			orders := s.Orders()
			_, _, _ = client.obtain("c" + c.zone) // certmagic repeats this order for the forgotten account
			if got := s.Orders() - orders; got != 2 {
				t.Errorf("%d orders arrived, not one for the forgotten account and one more", got)
			}
			client.expect(s, "d"+c.zone) // for a new account
		})
	}
}
