package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/acme"
	"github.com/jewgo/gateway/test/env"
)

// acmePolicy gets a certificate for fleet.test. The server's directory and CA, the address of plain HTTP,
// Redis, and the upstream stand for %q.
const acmePolicy = `
version: 1
server:
  data_dir: ./data
  hosts: [fleet.test, 127.0.0.1]
  tls: {acme: {hosts: [fleet.test], directory: %q, ca_file: %q}, redirect: %q}
session: {keys_file: %q}
redis: {url: %q}
upstreams: {app: {targets: [%q]}}
routes:
  - {name: all, match: {path: "/{rest...}"}, upstream: app}
`

// named is a client that reaches fleet.test at an address.
func named(server *acme.Server, address string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: server.Roots()},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	}}
}

// serialAt is the serial number of fleet.test's certificate at an address.
func serialAt(server *acme.Server, address string) (string, error) {
	res, err := named(server, address).Get("https://fleet.test/")
	if err != nil {
		return "", err
	}
	_ = res.Body.Close()
	return res.TLS.PeerCertificates[0].SerialNumber.String(), nil
}

// Two gateways, to the first of which alone the server comes to validate.
func TestTwoGatewaysOrderOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why        string
		http, alpn bool // how the server validates
		blind      bool // the first one cannot reach the server, so the challenge of the other is solved there
	}{
		{"http-01, solved at the other one", true, false, true},
		{"tls-alpn-01, solved at the other one", false, true, true},
		{"both want to order", true, true, false},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			upstream := httptest.NewServer(tells)
			t.Cleanup(upstream.Close)
			redis := env.Redis(t)
			https, plain := fixedAddr(t), fixedAddr(t)
			var cfg acme.Config
			if c.http {
				cfg.HTTPPort = portOf(plain)
			}
			if c.alpn {
				cfg.TLSPort = portOf(https)
			}
			server := acme.Start(t, cfg)
			keys := filepath.Join(t.TempDir(), "session.keys")
			run := func(dir, ca, listen, plain string) *gatewayProcess {
				file := filepath.Join(dir, "gateway.yaml")
				writePolicy(t, file, fmt.Sprintf(acmePolicy, server.Directory, ca, plain, keys, redis.URL, upstream.URL))
				g := launch(t, nil, "run", "--config", file, "--listen", listen, "--admin", "127.0.0.1:0")
				g.serving()
				return g
			}
			ca := server.CAFile
			if c.blind {
				ca = env.NewCA(t).File
			}
			run(t.TempDir(), ca, https, plain)
			dir, elsewhere := t.TempDir(), fixedAddr(t)
			other := run(dir, server.CAFile, elsewhere, fixedAddr(t))
			var serial string
			env.Eventually(t, 60*time.Second, func() (err error) {
				serial, err = serialAt(server, elsewhere)
				return err
			})
			env.Eventually(t, 30*time.Second, func() error {
				if got, err := serialAt(server, https); err != nil || got != serial {
					return fmt.Errorf("at the first one: %s (%w), want %s", got, err, serial)
				}
				return nil
			})

			ordered := server.Orders()
			if ordered > 1 && c.http && c.alpn || ordered > 2 { // with a challenge that fails, a second order
				t.Errorf("%d orders", ordered)
			}

			redis.Kill()
			other.signal(syscall.SIGTERM)
			other.wait(30 * time.Second)
			other = run(dir, server.CAFile, elsewhere, fixedAddr(t))
			if got, err := serialAt(server, elsewhere); err != nil || got != serial {
				t.Errorf("after a restart in an outage: %s (%v), want %s", got, err, serial)
			}
			if got := server.Orders(); got != ordered {
				t.Errorf("%d more orders", got-ordered)
			}
			if a := other.do("GET", other.admin+"/readyz?verbose", ""); a.StatusCode != 200 || !strings.Contains(a.body, "fleet.test until 20") {
				t.Errorf("readyz: %s\n%s", a.Status, a.body)
			}
		})
	}
}

func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}
