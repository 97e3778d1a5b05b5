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

// everyDial makes of a dial that fails a connection that does, with the same
// error, when its first command is written. After as many failed dials as a pool
// may hold connections go-redis would else dial no more than once a second, at a
// moment of its own in each gateway, and answer calls with the last error; how
// often a server that is away is asked is the Switch's to say, which holds the
// gateways together.
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

// dialError is the error of the handshake on a connection that was not made. Of
// that go-redis takes off one layer: the caller gets the dial's own.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// failedConn is what became of a dial.
type failedConn struct{ err error }

func (c failedConn) Read([]byte) (int, error)       { return 0, c.err }
func (c failedConn) Write([]byte) (int, error)      { return 0, c.err }
func (failedConn) Close() error                     { return nil }
func (failedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (failedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (failedConn) SetDeadline(time.Time) error      { return nil }
func (failedConn) SetReadDeadline(time.Time) error  { return nil }
func (failedConn) SetWriteDeadline(time.Time) error { return nil }

// SyscallConn is by what a pool looks whether an idle connection lives. A dial
// that failed after its caller had left must not fail the next one.
func (c failedConn) SyscallConn() (syscall.RawConn, error) { return nil, c.err }
