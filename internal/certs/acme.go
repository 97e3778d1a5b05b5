package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/policy"
)

// ACMEConfig is what certificates from an ACME server (RFC 8555) need.
type ACMEConfig struct {
	Policy *policy.ACME
	Dir    string           // where certificates and accounts are kept
	Keys   [][]byte         // of 32 bytes, which seal what is shared; the first one seals, any opens
	Shared Shared           // nil: this gateway alone
	Health *failover.Switch // of Shared
	// Retry is the first wait after a server that cannot be reached, and RetryRefused after one that
	// refuses or cannot validate, since servers count those; 0: 1 s and 2 min.
	Retry, RetryRefused time.Duration
	// SharedEvery is how often the copies in Redis are compared; 0: 10 s.
	SharedEvery time.Duration
}

const (
	maxRetry        = time.Minute // between tries to reach the server
	maxRetryRefused = time.Hour
	orderTimeout    = 5 * time.Minute // for one order, with the wait for other gateways
	ordersAtOnce    = 4
	// settling is how long a new certificate in Redis is looked after each second: other gateways are due at
	// the same time, and would order if they did not find it.
	settling = 30 * time.Second
	// renewAt is the part of a certificate's lifetime that is left when it is renewed.
	renewAt = 3
	// alpnProtocol is the protocol of TLS-ALPN-01 (RFC 8737).
	alpnProtocol = "acme-tls/1"
)

// acmeCerts gets certificates from an ACME server and renews them.
type acmeCerts struct {
	cfg     ACMEConfig
	now     func() time.Time
	log     *slog.Logger
	storage *storage
	cache   *certmagic.Cache
	magic   *certmagic.Config
	issuer  *certmagic.ACMEIssuer
	orders  chan struct{} // full: ordersAtOnce
	ready   chan struct{} // closed by answer
	resting chan struct{} // closed by rest
	ended   chan struct{} // closed when attend has ended

	mu     sync.Mutex
	states map[string]*acmeState // guarded by mu; by host
}

// acmeState is how the orders for one host go.
type acmeState struct {
	err      error // of the last one
	refused  bool  // by the server, which could be reached
	failures int   // of that kind in a row
	next     time.Time
}

// newACME reads what is stored. Nothing is ordered before attend.
func newACME(keeper Config, changed func()) (*acmeCerts, error) {
	cfg := *keeper.ACME
	if cfg.Retry == 0 {
		cfg.Retry, cfg.RetryRefused = time.Second, 2*time.Minute
	}
	if cfg.SharedEvery == 0 {
		cfg.SharedEvery = 10 * time.Second
	}
	seal, err := newSealer(cfg.Keys)
	if err != nil {
		return nil, err
	}
	a := &acmeCerts{cfg: cfg, now: keeper.Now, log: keeper.Log, orders: make(chan struct{}, ordersAtOnce), ready: make(chan struct{}), resting: make(chan struct{}), ended: make(chan struct{}), states: map[string]*acmeState{}}
	a.storage, err = newStorage(&storage{dir: cfg.Dir, shared: cfg.Shared, health: cfg.Health, seal: seal, rest: lockRest, alone: lockTTL, now: keeper.Now, log: keeper.Log, changed: changed})
	if err != nil {
		return nil, err
	}
	roots, err := rootsOf(cfg.Policy.CAFile)
	if err != nil {
		return nil, err
	}
	// certmagic orders, validates and stores. What to serve and when to renew is decided here, so its cache
	// stays empty.
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil },
		RenewCheckInterval: renewCheckInterval,
		Logger:             zap.NewNop(),
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{
		Storage: a.storage, DisableStorageCheck: true, DisableARI: true, RenewalWindowRatio: 1. / renewAt,
		OCSP: certmagic.OCSPConfig{DisableStapling: true}, Logger: zap.NewNop(),
	})
	a.issuer = certmagic.NewACMEIssuer(a.magic, certmagic.ACMEIssuer{
		CA: cfg.Policy.Directory, TestCA: cfg.Policy.Directory, Email: cfg.Policy.Email, Agreed: true, TrustedRoots: roots,
		DisableHTTPChallenge: true, DisableTLSALPNChallenge: true, // until it is known where validation arrives
		Logger: zap.NewNop(),
	})
	a.magic.Issuers = []certmagic.Issuer{unasked{a.issuer}}
	return a, nil
}

// unasked is an issuer that asks nobody. Without an email address, certmagic's PreCheck would ask for one at
// the terminal, and wait.
type unasked struct{ certmagic.Issuer }

// renewCheckInterval is how often certmagic would look at certificates in its cache. It takes one to be due
// in the last five of these, however long it lives.
const renewCheckInterval = time.Second

func rootsOf(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	a := readAuthorities(file)
	if a.problem != nil {
		return nil, fmt.Errorf("server.tls.acme.ca_file: %w", a.problem)
	}
	return a.pool, nil
}

// close ends certmagic's work.
func (a *acmeCerts) close() { a.cache.Stop() }

// answer says where this gateway takes validations: at the listeners of HTTPS and of plain HTTP, which may
// be nil. certmagic would open their ports on all addresses if they were free, but they are ours.
func (a *acmeCerts) answer(https, plain *net.TCPAddr) {
	defer close(a.ready)
	if https != nil {
		a.issuer.DisableTLSALPNChallenge, a.issuer.AltTLSALPNPort = false, https.Port
	}
	if plain != nil {
		a.issuer.DisableHTTPChallenge, a.issuer.AltHTTPPort = false, plain.Port
	}
}

// unit is the bundle of a host's certificate.
func (a *acmeCerts) unit(host string) string {
	return path.Dir(certmagic.StorageKeys.SiteCert(a.issuer.IssuerKey(), host))
}

// account is the bundle of the account, as certmagic names it.
func (a *acmeCerts) account() string {
	safe := certmagic.StorageKeys.Safe
	return path.Join("acme", safe(a.issuer.IssuerKey()), "users", safe(cmp.Or(a.cfg.Policy.Email, "default")))
}

// certificate returns a host's certificate; nil: there is none yet.
func (a *acmeCerts) certificate(host string) *tls.Certificate {
	pair, err := a.storage.load(a.unit(host)).pair()
	if err != nil {
		return nil // incomplete bundles are never kept
	}
	return pair
}

// rest ends all orders, and waits for that, but no longer than limit. It may be called once.
func (a *acmeCerts) rest(limit time.Duration) {
	close(a.resting)
	select {
	case <-a.ended:
	case <-time.After(limit):
	}
}

// attend orders and renews the certificate of each host, from answer until rest or until ctx is done.
func (a *acmeCerts) attend(ctx context.Context) {
	defer close(a.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with attend
		select {
		case <-a.resting:
			cancel()
		case <-ctx.Done():
		}
	}()
	select {
	case <-ctx.Done():
		return
	case <-a.ready:
	}
	var working sync.WaitGroup
	defer working.Wait()
	units := []string{a.account()}
	for _, host := range a.cfg.Policy.Hosts {
		units = append(units, a.unit(host))
	}
	a.storage.refreshAll(ctx, units)
	for _, host := range a.cfg.Policy.Hosts {
		working.Go(func() { a.attendTo(ctx, host) })
	}
	turns := time.NewTicker(a.cfg.SharedEvery)
	defer turns.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turns.C:
			a.storage.refreshAll(ctx, units)
		}
	}
}

// attendTo orders and renews the certificate of one host.
func (a *acmeCerts) attendTo(ctx context.Context, host string) {
	var issued time.Time
	for {
		wait := a.untilDue(host)
		if wait <= 0 {
			if wait = a.order(ctx, host); wait == 0 {
				issued = time.Now()
			}
		}
		// A certificate may come from another gateway meanwhile, or the clock may be set.
		wait = min(wait, time.Minute)
		if time.Since(issued) < settling {
			a.storage.refresh(ctx, a.unit(host))
			wait = min(wait, time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// untilDue is how long a host's certificate needs nothing.
func (a *acmeCerts) untilDue(host string) time.Duration {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stateLocked(host)
	if c := a.certificate(host); c != nil {
		end := c.Leaf.NotAfter.Truncate(time.Second).Add(time.Second) // that second counts, also to certmagic
		due := end.Add(-end.Sub(c.Leaf.NotBefore) / renewAt)
		if now.Before(due) {
			*s = acmeState{} // another gateway may have done it
			return due.Sub(now)
		}
	}
	return s.next.Sub(now)
}

// order gets a host's certificate, or renews it, and returns how long to wait then.
func (a *acmeCerts) order(ctx context.Context, host string) time.Duration {
	select {
	case a.orders <- struct{}{}:
		defer func() { <-a.orders }()
	case <-ctx.Done():
		return 0
	}
	before := a.certificate(host)
	ordering, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	var err error
	if before == nil {
		err = a.magic.ObtainCertSync(ordering, host)
	} else {
		err = a.magic.RenewCertSync(ordering, host, false)
	}
	after := a.certificate(host)
	if err == nil && (after == nil || before != nil && after.Leaf.Equal(before.Leaf)) {
		err = errors.New("the server gave no new certificate")
	}
	if ctx.Err() != nil {
		return 0
	}
	return a.ordered(host, after, err)
}

// ordered notes the outcome of an order.
func (a *acmeCerts) ordered(host string, got *tls.Certificate, err error) (wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stateLocked(host)
	if err == nil {
		*s = acmeState{}
		a.log.Info("certificate issued", "host", host, "not_after", got.Leaf.NotAfter)
		return 0
	}
	first, most := a.cfg.Retry, maxRetry
	refused := errors.As(err, new(acme.Problem))
	if refused {
		first, most = a.cfg.RetryRefused, maxRetryRefused
	}
	if refused != s.refused {
		s.refused, s.failures = refused, 0
	}
	wait = min(first<<min(s.failures, 12), most)
	wait += time.Duration(rand.Int64N(int64(wait/10) + 1)) // gateways do not try at once
	s.err, s.failures, s.next = err, s.failures+1, a.now().Add(wait)
	a.log.Warn("no certificate was issued", "host", host, "error", err.Error(), "next_try", wait.Round(time.Second/10).String(), "served_meanwhile", got != nil)
	return wait
}

func (a *acmeCerts) stateLocked(host string) *acmeState {
	s := a.states[host]
	if s == nil {
		s = &acmeState{}
		a.states[host] = s
	}
	return s
}

// describe lists the hosts with their certificates.
func (a *acmeCerts) describe(now time.Time) (all []Certificate) {
	for _, host := range a.cfg.Policy.Hosts {
		c := Certificate{Names: []string{host}, Missing: true}
		if pair := a.certificate(host); pair != nil {
			c = describe(pair.Leaf, now)
		}
		c.Source = a.cfg.Policy.Directory
		a.mu.Lock()
		if s := a.stateLocked(host); s.err != nil {
			c.Problem = fmt.Sprintf("%v; next try at %s", s.err, s.next.UTC().Format(time.RFC3339))
		} else if c.Missing {
			c.Problem = "it is being ordered"
		} else if !a.storage.saved(a.unit(host)) {
			c.Problem = "it is not on disk: after a restart it would be ordered again"
		}
		a.mu.Unlock()
		all = append(all, c)
	}
	return all
}

// chooser chooses among the certificates that there are now. None is left to those in files, where there are
// any, or to an alert that the name is unknown.
func (a *acmeCerts) chooser(files bool) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	hosts, held := a.cfg.Policy.Hosts, map[string]*tls.Certificate{}
	for _, host := range hosts {
		held[host] = a.certificate(host)
	}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := policy.NormalHost(hello.ServerName)
		switch {
		case held[name] != nil:
			return held[name], nil
		case slices.Contains(hosts, name) && !files:
			return nil, fmt.Errorf("there is no certificate for %s yet", name)
		case name == "" && !files && held[hosts[0]] != nil:
			return held[hosts[0]], nil
		}
		return nil, nil
	}
}

// challenge returns how a validation by TLS-ALPN-01 is answered; nil: it is none, or not for our hosts.
func (a *acmeCerts) challenge(hello *tls.ClientHelloInfo) *tls.Config {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != alpnProtocol || !slices.Contains(a.cfg.Policy.Hosts, policy.NormalHost(hello.ServerName)) {
		return nil
	}
	// net/http closes connections of this protocol: whoever connects so gets past no client certificates.
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{alpnProtocol}, GetCertificate: a.magic.GetCertificate}
}

// handler answers validations by HTTP-01 (RFC 8555, 8.3), and passes other requests on.
func (a *acmeCerts) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(a.cfg.Policy.Hosts, policy.HostOf(r.Host)) && a.issuer.HandleHTTPChallenge(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}
