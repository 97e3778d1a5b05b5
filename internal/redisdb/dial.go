package redisdb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/jewgo/gateway/internal/redisurl"
)

// dialer makes the connections to servers and Sentinels.
type dialer struct {
	url     redisurl.URL
	timeout time.Duration // of connecting and the TLS handshake together
}

// keepAlive finds a connection whose other end is gone without a word, and keeps
// those alive that a firewall would forget.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// dial returns errors of one kind alone, those of the network: a certificate
// that cannot be verified says as much about the store as a port that refuses.
func (d dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.connect(ctx, network, addr)
	var known *net.OpError
	if err != nil && !errors.As(err, &known) {
		err = &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return conn, err
}

func (d dialer) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext(ctx, network, addr)
	if err != nil || !d.url.TLS {
		return conn, err
	}
	secure, err := d.handshake(ctx, conn, addr)
	if err != nil {
		_ = conn.Close() // nothing was written that could be lost
		return nil, fmt.Errorf("TLS with %s: %w", addr, err)
	}
	return secure, nil
}

func (d dialer) handshake(ctx context.Context, conn net.Conn, addr string) (*tls.Conn, error) {
	cfg, err := tlsConfig(d.url)
	if err != nil {
		return nil, err
	}
	if cfg.ServerName == "" {
		if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, err
		}
	}
	secure := tls.Client(conn, cfg)
	return secure, secure.HandshakeContext(ctx)
}

// tlsConfig reads the files that u names.
func tlsConfig(u redisurl.URL) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.ServerName}
	if u.CA == "" {
		var err error
		// Not left to the first handshake: to read them takes longer than a dial may.
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("the system's roots: %w", err)
		}
	} else {
		pem, err := os.ReadFile(u.CA)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: no certificate in %s", u.CA)
		}
	}
	if u.Cert != "" {
		pair, err := tls.LoadX509KeyPair(u.Cert, u.Key)
		if err != nil {
			return nil, fmt.Errorf("tls_cert and tls_key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
