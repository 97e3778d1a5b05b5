package env

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// TLSServerName is the only name, beside 127.0.0.1, in the certificates of this package's servers.
const TLSServerName = "redis.test"

// TLSFiles are the paths of certificates and a key in PEM.
type TLSFiles struct{ CA, Cert, Key string }

// TLSServer is a redis-server that only speaks TLS and requires client certificates.
type TLSServer struct {
	*RedisServer          // its URL is rediss:// with the client's files as parameters
	Client       TLSFiles // for a client
}

// RedisTLS starts a redis-server with a certificate of a new CA, and makes a client certificate of the
// same CA. args are as for Redis.
func RedisTLS(t T, args ...string) *TLSServer {
	t.Helper()
	ca := NewCA(t)
	server, client := ca.Issue(t, TLSServerName, "127.0.0.1"), ca.Issue(t, TLSServerName)
	config := &tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{client.Pair(t)}}
	s := launch(t, &RedisServer{
		dial: func(addr string) (net.Conn, error) {
			return tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", addr, config)
		},
		args: func(port string) []string {
			return volatile("0", append([]string{
				"--tls-port", port, "--tls-auth-clients", "yes",
				"--tls-ca-cert-file", server.CA, "--tls-cert-file", server.Cert, "--tls-key-file", server.Key,
			}, args...)...)
		},
	})
	query := url.Values{"tls_ca": {client.CA}, "tls_cert": {client.Cert}, "tls_key": {client.Key}}
	s.URL = "rediss://" + s.Addr + "?" + query.Encode()
	return &TLSServer{RedisServer: s, Client: client}
}

// Pair reads the certificate and its key.
func (f TLSFiles) Pair(t T) tls.Certificate {
	t.Helper()
	return must(tls.LoadX509KeyPair(f.Cert, f.Key))(t)
}

// CA issues certificates.
type CA struct {
	Pool *x509.CertPool // that trusts it alone
	File string         // its own certificate in PEM

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

// NewCA returns a new CA.
func NewCA(t T) *CA {
	t.Helper()
	ca := &CA{Pool: x509.NewCertPool(), dir: t.TempDir(), key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	template.Subject.CommonName = "test CA"
	der := must(x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key))(t)
	ca.cert = must(x509.ParseCertificate(der))(t)
	ca.Pool.AddCert(ca.cert)
	ca.File = ca.write(t, "ca.pem", "CERTIFICATE", der)
	return ca
}

// Issue makes a certificate for servers and clients of these names and addresses, valid for an hour.
func (ca *CA) Issue(t T, names ...string) TLSFiles {
	t.Helper()
	return ca.IssueFor(t, time.Hour, names...)
}

// IssueFor is Issue with a lifetime, of which an hour is over.
func (ca *CA) IssueFor(t T, rest time.Duration, names ...string) TLSFiles {
	t.Helper()
	ca.n++
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ca.n + 1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(rest),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key))(t)
	return TLSFiles{
		CA:   ca.File,
		Cert: ca.write(t, fmt.Sprintf("%d.pem", ca.n), "CERTIFICATE", der),
		Key:  ca.write(t, fmt.Sprintf("%d.key", ca.n), "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(t)),
	}
}

func (ca *CA) write(t T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(ca.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
