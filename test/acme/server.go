// Package acme runs a real ACME server for tests: pebble, in this process. It validates HTTP-01 and
// TLS-ALPN-01 at ports of the test, and every name resolves to 127.0.0.1. It can go down, come back,
// and lose its accounts. Clients belong to the tests. Everything ends with the test, except one idle
// goroutine of pebble's for each Start and Forget: its validator has no end.
package acme

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/jewgo/gateway/test/env"
)

// newOrder is pebble's path for new orders, which it does not export.
const newOrder = "/order-plz"

// Config says what a Server issues, and where it validates.
type Config struct {
	// Lifetime of certificates in whole seconds; 0: 90 days. NotBefore is the moment of issue, and
	// NotAfter comes a second before the lifetime's end, because both count (RFC 5280, 4.1.2.5).
	Lifetime time.Duration
	// HTTPPort takes the place of port 80 for HTTP-01; 0: such a validation fails.
	HTTPPort int
	// TLSPort takes the place of port 443 for TLS-ALPN-01; 0: such a validation fails.
	TLSPort int
}

// Server is the ACME server of one test. It keeps its address while the test runs. Only the test's
// goroutine may call its methods; any may call Orders.
type Server struct {
	Directory string // URL of its directory: https://127.0.0.1:port/dir
	CAFile    string // PEM file with the CA of its own HTTPS certificate

	tb       testing.TB
	cfg      Config
	log      *log.Logger
	addr     string // host:port
	resolver string // host:port of the DNS server
	identity tls.Certificate
	roots    []*x509.Certificate // including those from before Forget
	orders   atomic.Int64

	pebble http.Handler
	web    *http.Server
	ended  chan struct{} // closed when web has ended; nil: stopped
}

// Start starts an ACME server on a free loopback port. What pebble logs is shown if the test fails.
func Start(tb testing.TB, cfg Config) *Server {
	tb.Helper()
	dir := tb.TempDir()
	s := &Server{tb: tb, cfg: cfg, log: logger(tb, filepath.Join(dir, "pebble.log"))}
	ca := env.NewCA(tb)
	s.identity, s.CAFile = ca.Issue(tb, "127.0.0.1", "localhost").Pair(tb), ca.File
	s.resolver = resolver(tb, s.log)
	s.reset()
	s.addr = "127.0.0.1:" + env.FreePort(tb) // where Restart finds it free
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		tb.Fatal(err)
	}
	s.Directory = "https://" + s.addr + wfe.DirectoryPath
	tb.Cleanup(s.Stop)
	s.serve(l)
	return s
}

// Roots returns the CAs of the certificates that the server has issued. Those from before Forget are
// among them.
func (s *Server) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, root := range s.roots {
		pool.AddCert(root)
	}
	return pool
}

// RootsFile is Roots in a PEM file.
func (s *Server) RootsFile() string {
	s.tb.Helper()
	var text []byte
	for _, root := range s.roots {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...)
	}
	file := filepath.Join(s.tb.TempDir(), "roots.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		s.tb.Fatal(err)
	}
	return file
}

// Orders returns how many requests for a new order have arrived, refused ones included.
func (s *Server) Orders() int { return int(s.orders.Load()) }

// Stop takes the server down: connections end, and new ones are refused. Stopping twice is harmless.
func (s *Server) Stop() {
	s.tb.Helper()
	if s.ended == nil {
		return
	}
	if err := s.web.Close(); err != nil {
		s.tb.Errorf("stop the ACME server: %v", err)
	}
	<-s.ended
	s.ended = nil
}

// Restart brings the server back at the same address, with its accounts, orders and certificates. A
// running server is stopped first.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	var err error
	for range 20 { // for a moment the port may be the source port of another connection
		var l net.Listener
		if l, err = net.Listen("tcp", s.addr); err == nil {
			s.serve(l)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.tb.Fatalf("restart the ACME server: %v", err)
}

// Forget is Restart with an empty database and a new CA: the server knows none of its accounts, orders
// and certificates.
func (s *Server) Forget() {
	s.tb.Helper()
	s.Stop()
	s.reset()
	s.Restart()
}

// reset makes a new pebble.
func (s *Server) reset() {
	s.tb.Helper()
	setenv(s.tb)
	store := db.NewMemoryStore()
	authority := ca.New(s.log, store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		"default": {Description: "the only one", ValidityPeriod: uint64(s.cfg.Lifetime / time.Second)},
	})
	validator := va.New(s.log, s.cfg.HTTPPort, s.cfg.TLSPort, false, s.resolver, store)
	front := wfe.New(s.log, store, validator, authority, []string{"acme.test"}, false, false, 0, 0)
	s.pebble = front.Handler()
	s.roots = append(s.roots, authority.GetRootCert(0).Cert)
}

// setenv sets what pebble only reads from the environment. tb.Setenv would forbid parallel tests, and
// these are the same for all of them.
func setenv(tb testing.TB) {
	tb.Helper()
	for name, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP":      "1", // validate at once
		"PEBBLE_WFE_NONCEREJECT": "0", // refuse no good nonce
		"PEBBLE_AUTHZREUSE":      "0", // validate for every order, not for every second one
	} {
		if err := os.Setenv(name, value); err != nil {
			tb.Fatal(err)
		}
	}
}

// serve answers at l until Stop.
func (s *Server) serve(l net.Listener) {
	web := &http.Server{
		Handler:   s.counted(s.pebble),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.identity}},
		ErrorLog:  s.log,
	}
	ended := make(chan struct{})
	s.web, s.ended = web, ended
	go func() {
		defer close(ended)
		s.log.Printf("serve %s: %v", s.addr, web.ServeTLS(l, "", ""))
	}()
}

// counted counts requests for new orders.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == newOrder {
			s.orders.Add(1)
		}
		next.ServeHTTP(w, r)
	})
}

// logger logs to a file, which is shown if the test fails. Goroutines of pebble's may log after the
// test's end, which tb.Log forbids.
func logger(tb testing.TB, path string) *log.Logger {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = f.Close() // what is logged from now on gets lost
		if !tb.Failed() {
			return
		}
		if said, err := os.ReadFile(path); err == nil {
			tb.Logf("pebble:\n%s", said)
		}
	})
	return log.New(f, "", log.Lmicroseconds)
}
