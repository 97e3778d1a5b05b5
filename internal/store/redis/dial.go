package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/redisurl"
)

// dialer connects to servers and Sentinels.
type dialer struct {
	url     redisurl.URL
	timeout time.Duration // for connecting and the TLS handshake together
}

// keepAlive detects a connection whose other end vanished, and keeps a firewall from forgetting
// idle ones.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// dial returns network errors only: a certificate that cannot be verified says the same about the
// store as a refused port.
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
		_ = conn.Close() // nothing was written yet
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

// tlsConfig builds the TLS configuration and reads the files that u names.
func tlsConfig(u redisurl.URL) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.ServerName}
	if u.CA == "" {
		var err error
		// Loaded here, not in the first handshake: it can take longer than a dial may.
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("load the system's root certificates: %w", err)
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

// everyDial turns a failed dial into a connection whose first write fails with the same error.
// Otherwise, once as many dials have failed as a pool may hold connections, go-redis would dial
// only once a second and answer calls with the last error, at different moments in each gateway.
// The Switch alone decides how often to try an unavailable server; that keeps the gateways
// together.
type everyDial struct{}

func (everyDial) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			return failedConn{dialError{err}}, nil
		}
		return conn, nil
	}
}

func (everyDial) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (everyDial) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// dialError is the handshake's error on a connection that was not made. go-redis unwraps it once,
// so the caller gets the dial's own error.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// failedConn stands for a failed dial.
type failedConn struct{ err error }

func (c failedConn) Read([]byte) (int, error)       { return 0, c.err }
func (c failedConn) Write([]byte) (int, error)      { return 0, c.err }
func (failedConn) Close() error                     { return nil }
func (failedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (failedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (failedConn) SetDeadline(time.Time) error      { return nil }
func (failedConn) SetReadDeadline(time.Time) error  { return nil }
func (failedConn) SetWriteDeadline(time.Time) error { return nil }

// SyscallConn is how a pool checks whether an idle connection is alive. It fails, so that a dial
// that failed after its caller had left does not fail the next call.
func (c failedConn) SyscallConn() (syscall.RawConn, error) { return nil, c.err }
