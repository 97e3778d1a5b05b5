package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// keeper is a Keeper of a policy, whose looks the test makes.
type keeper struct {
	*Keeper
	t    *testing.T
	log  bytes.Buffer
	time *env.Clock
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{t: t, time: env.NewClock(time.Now())}
	var err error
	if k.Keeper, err = New(Config{Now: k.time.Now, Every: time.Hour, Log: slog.New(slog.NewTextHandler(&k.log, nil))}); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keeper) use(p policy.TLS) error {
	commit, err := k.Prepare(&policy.Snapshot{Policy: &policy.Policy{Server: policy.Server{TLS: &p}}})
	if err == nil {
		commit()
	}
	return err
}

func (k *keeper) must(p policy.TLS) {
	k.t.Helper()
	if p.MinVersion == 0 {
		p.MinVersion = tls.VersionTLS12
	}
	if err := k.use(p); err != nil {
		k.t.Fatal(err)
	}
}

// dial makes a handshake, and a round trip, so that the server's refusal is seen too.
func (k *keeper) dial(client *tls.Config) (state tls.ConnectionState, err error) {
	k.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		k.t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for { // a stranger may have had the port before
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			server := tls.Server(conn, k.TLS())
			_, _ = server.Write([]byte("x"))
			_ = server.Close()
		}
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		return state, err
	}
	defer conn.Close()
	if n, failed := conn.Read(make([]byte, 1)); n == 0 { // with the byte the end may come
		err = failed
	}
	return conn.ConnectionState(), err
}

// served is the first name of the certificate for a name.
func (k *keeper) served(ca *env.CA, name string) string {
	k.t.Helper()
	state, err := k.dial(&tls.Config{RootCAs: ca.Pool, ServerName: name})
	if err != nil {
		return err.Error()
	}
	return state.PeerCertificates[0].DNSNames[0]
}

func def(f env.TLSFiles) policy.CertificateDef {
	return policy.CertificateDef{CertFile: f.Cert, KeyFile: f.Key}
}

func TestTheNameChoosesTheCertificate(t *testing.T) {
	ca := env.NewCA(t)
	k := newKeeper(t)
	k.must(policy.TLS{Certificates: []policy.CertificateDef{
		def(ca.Issue(t, "a.test", "other.test")), def(ca.Issue(t, "b.test")), def(ca.Issue(t, "*.wild.test")),
	}})
	for name, want := range map[string]string{
		"a.test": "a.test", "other.test": "a.test", "b.test": "b.test", "x.wild.test": "*.wild.test",
		"unknown.test": "valid for a.test, other.test, not unknown.test", // the first, which a client then refuses
	} {
		if got := k.served(ca, name); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestOldVersionsAreRefused(t *testing.T) {
	ca := env.NewCA(t)
	files := def(ca.Issue(t, "a.test"))
	for _, c := range []struct {
		least, client uint16
		ok            bool
	}{
		{tls.VersionTLS12, tls.VersionTLS11, false},
		{tls.VersionTLS12, tls.VersionTLS12, true},
		{tls.VersionTLS13, tls.VersionTLS12, false},
		{tls.VersionTLS13, tls.VersionTLS13, true},
	} {
		k := newKeeper(t)
		k.must(policy.TLS{Certificates: []policy.CertificateDef{files}, MinVersion: policy.TLSVersion(c.least)})
		_, err := k.dial(&tls.Config{RootCAs: ca.Pool, ServerName: "a.test", MinVersion: tls.VersionTLS10, MaxVersion: c.client})
		if (err == nil) != c.ok {
			t.Errorf("at least %x, client %x: %v", c.least, c.client, err)
		}
	}
}

// replace writes the files of one certificate over those of another.
func replace(t *testing.T, path, with string) {
	t.Helper()
	text, err := os.ReadFile(with)
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestChangedFilesAreReadAgain(t *testing.T) {
	ca := env.NewCA(t)
	k := newKeeper(t)
	used, next := ca.Issue(t, "old.test"), ca.Issue(t, "new.test")
	k.must(policy.TLS{Certificates: []policy.CertificateDef{def(used)}})
	k.look()
	expect := func(when, name, logged string) {
		t.Helper()
		if got := k.served(ca, name); got != name {
			t.Errorf("%s: got %s", when, got)
		}
		if !strings.Contains(k.log.String(), logged) || logged == "" && k.log.Len() > 0 {
			t.Errorf("%s: logged %q, want %q", when, k.log.String(), logged)
		}
	}

	replace(t, used.Cert, next.Cert)
	k.look()
	expect("while the files are being written", "old.test", "")
	k.look()
	expect("when the pair does not match", "old.test", "a changed certificate is not used")
	if c := k.Certificates()[0]; !strings.Contains(c.Problem, "private key does not match") {
		t.Errorf("problem %q", c.Problem)
	}
	lines := strings.Count(k.log.String(), "\n")
	k.look()
	k.look()
	if now := strings.Count(k.log.String(), "\n"); now != lines {
		t.Errorf("the same fault is logged at each look:\n%s", k.log.String())
	}

	replace(t, used.Key, next.Key)
	k.look()
	k.look()
	expect("when both are new", "new.test", "certificate read again")
	if c := k.Certificates()[0]; c.Problem != "" {
		t.Errorf("problem %q", c.Problem)
	}

	if err := os.Remove(used.Key); err != nil {
		t.Fatal(err)
	}
	k.look()
	k.look()
	expect("when the key is gone", "new.test", "no such file")
}

func TestWhatCannotBeUsedIsRefused(t *testing.T) {
	ca := env.NewCA(t)
	good, other := ca.Issue(t, "a.test"), ca.Issue(t, "b.test")
	loose := ca.Issue(t, "c.test")
	if err := os.Chmod(loose.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k := newKeeper(t)
	k.must(policy.TLS{Certificates: []policy.CertificateDef{def(good)}})
	for _, c := range []struct {
		p    policy.TLS
		want string
	}{
		{policy.TLS{Certificates: []policy.CertificateDef{{CertFile: good.Cert, KeyFile: other.Key}}}, "private key does not match"},
		{policy.TLS{Certificates: []policy.CertificateDef{def(good), {CertFile: "/none.pem", KeyFile: good.Key}}}, "/none.pem: no such file"},
		{policy.TLS{Certificates: []policy.CertificateDef{def(loose)}}, "has mode 0644"},
		{policy.TLS{Certificates: []policy.CertificateDef{{CertFile: empty, KeyFile: good.Key}}}, "failed to find any PEM data"},
		{policy.TLS{Certificates: []policy.CertificateDef{def(good)}, ClientCA: empty}, "holds no certificate"},
		{policy.TLS{Certificates: []policy.CertificateDef{def(good)}, ClientCA: "/none.pem"}, "/none.pem: no such file"},
	} {
		if err := k.use(c.p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	if got := k.served(ca, "a.test"); got != "a.test" {
		t.Errorf("after refused policies: %s", got)
	}
}

func TestClientsNeedACertificateOfTheCA(t *testing.T) {
	ca, clients, strangers := env.NewCA(t), env.NewCA(t), env.NewCA(t)
	k := newKeeper(t)
	k.must(policy.TLS{Certificates: []policy.CertificateDef{def(ca.Issue(t, "a.test"))}, ClientCA: clients.File})
	dial := func(from *env.CA, session tls.ClientSessionCache) error {
		c := &tls.Config{RootCAs: ca.Pool, ServerName: "a.test", ClientSessionCache: session}
		if from != nil {
			c.Certificates = []tls.Certificate{from.Issue(t, "client.test").Pair(t)}
		}
		_, err := k.dial(c)
		return err
	}
	resumed := tls.NewLRUClientSessionCache(1)
	if err := dial(clients, resumed); err != nil {
		t.Errorf("a client of the CA: %v", err)
	}
	if dial(strangers, nil) == nil || dial(nil, nil) == nil {
		t.Error("a client without a certificate of the CA was served")
	}

	replace(t, clients.File, strangers.File)
	k.look()
	k.look()
	if err := dial(strangers, nil); err != nil {
		t.Errorf("a client of the changed CA: %v", err)
	}
	if dial(clients, resumed) == nil {
		t.Error("a client of the CA before was served, by the session that it had")
	}
	if err := os.WriteFile(clients.File, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.look()
	k.look()
	if err := dial(strangers, nil); err != nil || !strings.Contains(k.log.String(), "changed client CAs are not used") {
		t.Errorf("after a torn file: %v, logged %s", err, k.log.String())
	}
}

func TestWarnsFourteenDaysBefore(t *testing.T) {
	ca := env.NewCA(t)
	k := newKeeper(t)
	const day = 24 * time.Hour
	k.must(policy.TLS{Certificates: []policy.CertificateDef{
		def(ca.IssueFor(t, 60*day+time.Hour, "long.test")), def(ca.IssueFor(t, 20*day+time.Hour, "short.test")), // a quarter of it is 5 days
	}})
	warned := func() string {
		k.log.Reset()
		k.warn()
		names := ""
		for _, name := range []string{"long", "short"} {
			names += fmt.Sprintf("%s %d, ", name, strings.Count(k.log.String(), "names="+name+".test"))
		}
		return names
	}
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{0, "long 0, short 0, "},
		{14 * day, "long 0, short 0, "}, // the short one has 6 days left
		{2 * day, "long 0, short 1, "},
		{time.Minute, "long 0, short 0, "}, // once a day
		{day, "long 0, short 1, "},
		{29*day + time.Hour, "long 1, short 1, "},
	} {
		k.time.Advance(c.after)
		if got := warned(); got != c.want {
			t.Errorf("%v later: warned of %s want %s", c.after, got, c.want)
		}
	}
}

func TestLocalhost(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "data"), time.Now()
	first, err := Localhost(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(t)
	k.must(policy.TLS{Certificates: []policy.CertificateDef{first}})
	text, err := os.ReadFile(first.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := k.dial(&tls.Config{RootCAs: pool, ServerName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	read := func(at time.Time) string {
		t.Helper()
		d, err := Localhost(dir, at)
		text, err2 := os.ReadFile(d.CertFile)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return string(text)
	}
	if read(now.Add(300*24*time.Hour)) != string(text) {
		t.Error("a certificate that is still good was replaced")
	}
	if read(now.Add(340*24*time.Hour)) == string(text) {
		t.Error("a certificate that soon expires was kept")
	}
}
