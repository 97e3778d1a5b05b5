// Package certs holds the certificates with which the gateway speaks HTTPS, and tells when they
// expire. Changed files are read again while the gateway runs: a pair that does not match, or a file
// that cannot be read, leaves the certificate before it in use.
//
// Which certificate fits a client's name and algorithms is decided by crypto/tls.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/policy"
)

// Config is what a Keeper needs. All fields but ACME are required.
type Config struct {
	Now   func() time.Time
	Every time.Duration // between two looks at the files
	Log   *slog.Logger
	ACME  *ACMEConfig // nil: there are only files
}

// Keeper keeps the certificates of the policy in force. Prepare puts the first policy in force.
type Keeper struct {
	cfg     Config
	acme    *acmeCerts // nil: none
	serving atomic.Pointer[tls.Config]

	mu    sync.Mutex
	inUse *loaded // guarded by mu

	warned map[string]int64 // by certificate, the day of its last warning; Run's own
}

// loaded is what the files of one policy held when they were last read.
type loaded struct {
	policy *policy.TLS // nil: none
	pairs  []pair
	ca     authorities
}

// pair is a certificate and its key.
type pair struct {
	certificate *tls.Certificate
	files       watched
	problem     error // why the files there now are not in use
}

// authorities are those that sign clients' certificates; nil pool: clients need none.
type authorities struct {
	pool    *x509.CertPool
	file    watched
	problem error
}

// watched are files that are read when they change.
type watched struct {
	paths       []string
	read, looks []atomicfile.State // when they were read, and at the last look
}

func watch(paths ...string) watched {
	w := watched{paths: paths, looks: make([]atomicfile.State, len(paths))}
	w.read = w.look()
	return w
}

func (w *watched) look() []atomicfile.State {
	var states []atomicfile.State
	for _, path := range w.paths {
		states = append(states, atomicfile.Look(path))
	}
	return states
}

// changed reports whether the files are to be read again. They are once nothing has changed between two
// looks, since a certificate and its key are written one after the other.
func (w *watched) changed() bool {
	now := w.look()
	quiet := slices.EqualFunc(now, w.looks, atomicfile.State.Same)
	w.looks = now
	return quiet && !slices.EqualFunc(now, w.read, atomicfile.State.Same)
}

// New returns a Keeper with what it has got from an ACME server before. Close ends it.
func New(cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, inUse: &loaded{}, warned: map[string]int64{}}
	if cfg.ACME != nil {
		var err error
		if k.acme, err = newACME(cfg, k.issued); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// Close ends what New began.
func (k *Keeper) Close() {
	if k.acme != nil {
		k.acme.close()
	}
}

// issued puts a new certificate in use.
func (k *Keeper) issued() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.useLocked(k.inUse)
}

// Answer says where clients arrive, so that an ACME server can validate this gateway's names: at the
// listeners of HTTPS, and of plain HTTP, which may be nil. Until then nothing is ordered.
func (k *Keeper) Answer(https, plain *net.TCPAddr) {
	if k.acme != nil {
		k.acme.answer(https, plain)
	}
}

// EndOrders ends what is being ordered, and orders no more. It waits for that, but no longer than limit. It
// must be called before the listeners of Answer are closed: while an order is under way certmagic would open
// their ports itself. It may be called once.
func (k *Keeper) EndOrders(limit time.Duration) {
	if k.acme != nil {
		k.acme.rest(limit)
	}
}

// Plain answers what an ACME server asks by plain HTTP, and passes other requests on.
func (k *Keeper) Plain(next http.Handler) http.Handler {
	if k.acme == nil {
		return next
	}
	return k.acme.handler(next)
}

// Prepare implements reload.Part: it reads the files of the policy.
func (k *Keeper) Prepare(s *policy.Snapshot) (commit func(), err error) {
	next := &loaded{policy: s.Policy.Server.TLS}
	if next.policy == nil {
		return func() { k.commit(next) }, nil
	}
	var problems []error
	for _, def := range next.policy.Certificates {
		p := readPair(def)
		problems = append(problems, p.problem)
		next.pairs = append(next.pairs, p)
	}
	next.ca = readAuthorities(next.policy.ClientCA)
	if err := errors.Join(append(problems, next.ca.problem)...); err != nil {
		return nil, fmt.Errorf("server.tls: %w", err)
	}
	return func() { k.commit(next) }, nil
}

func (k *Keeper) commit(next *loaded) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.useLocked(next)
}

// useLocked puts next in use for the connections that begin from now on.
func (k *Keeper) useLocked(next *loaded) {
	k.inUse = next
	c := next.config()
	if c != nil && k.acme != nil {
		c.GetCertificate = k.acme.chooser(len(next.pairs) > 0)
	}
	k.serving.Store(c)
}

// config is how the server speaks TLS.
func (l *loaded) config() *tls.Config {
	if l.policy == nil {
		return nil
	}
	c := &tls.Config{MinVersion: uint16(l.policy.MinVersion), NextProtos: []string{"h2", "http/1.1"}}
	for _, p := range l.pairs {
		c.Certificates = append(c.Certificates, *p.certificate)
	}
	if l.ca.pool != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, l.ca.pool
		c.SessionTicketsDisabled = true // a resumed session would not prove that it has the key
	}
	return c
}

// TLS is the server's configuration. Each connection has what is in use when it begins.
func (k *Keeper) TLS() *tls.Config {
	return &tls.Config{
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if k.acme != nil {
				if c := k.acme.challenge(hello); c != nil {
					return c, nil
				}
			}
			return k.serving.Load(), nil
		},
	}
}

// Run looks at the files until ctx is done, reads those that have changed, warns about certificates that
// expire, and orders those from an ACME server.
func (k *Keeper) Run(ctx context.Context) {
	if k.acme != nil {
		var attending sync.WaitGroup
		defer attending.Wait()
		attending.Go(func() { k.acme.attend(ctx) })
	}
	turns := time.NewTicker(k.cfg.Every)
	defer turns.Stop()
	for {
		k.look()
		k.warn()
		select {
		case <-ctx.Done():
			return
		case <-turns.C:
		}
	}
}

// look reads changed files.
func (k *Keeper) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := false
	for i := range k.inUse.pairs {
		p, def := &k.inUse.pairs[i], k.inUse.policy.Certificates[i]
		if !p.files.changed() {
			continue
		}
		next := readPair(def)
		if next.problem != nil {
			k.cfg.Log.Warn("a changed certificate is not used, the one before stays", "error", next.problem.Error())
			next.certificate = p.certificate
		} else {
			k.cfg.Log.Info("certificate read again", "cert_file", def.CertFile, "not_after", next.certificate.Leaf.NotAfter)
		}
		*p, changed = next, true
	}
	if ca := &k.inUse.ca; ca.pool != nil && ca.file.changed() {
		next := readAuthorities(k.inUse.policy.ClientCA)
		if next.problem != nil {
			k.cfg.Log.Warn("changed client CAs are not used, those before stay", "error", next.problem.Error())
			next.pool = ca.pool
		}
		*ca, changed = next, true
	}
	if changed {
		k.useLocked(k.inUse)
	}
}

// readPair reads a certificate and its key; problem says what is wrong with them.
func readPair(def policy.CertificateDef) pair {
	p := pair{files: watch(def.CertFile, def.KeyFile)} // first: a change from here on is seen by the next look
	chain, err := os.ReadFile(def.CertFile)
	if err != nil {
		p.problem = err
		return p
	}
	key, err := atomicfile.ReadSecret(def.KeyFile)
	if err != nil {
		p.problem = err
		return p
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		p.problem = fmt.Errorf("%s with %s: %w", def.CertFile, def.KeyFile, err)
		return p
	}
	p.certificate = &certificate
	return p
}

func readAuthorities(file string) authorities {
	if file == "" {
		return authorities{}
	}
	a := authorities{file: watch(file)}
	text, err := os.ReadFile(file)
	if err != nil {
		a.problem = err
		return a
	}
	a.pool = x509.NewCertPool()
	if !a.pool.AppendCertsFromPEM(text) {
		a.problem = fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return a
}
