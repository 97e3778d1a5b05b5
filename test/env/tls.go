package env

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// TLSServerName is the one name, beside the address 127.0.0.1, that the
// certificates of this package's servers hold.
const TLSServerName = "redis.test"

// TLSFiles are the paths of certificates and a key in PEM.
type TLSFiles struct{ CA, Cert, Key string }

// TLSServer is a redis-server that speaks TLS alone and asks its clients for a
// certificate.
type TLSServer struct {
	*RedisServer          // its URL is rediss:// with the client's files as parameters
	Client       TLSFiles // what a client needs
}

// RedisTLS starts a redis-server with a certificate of a CA made for the test,
// and makes a client's certificate of the same CA. args are as for Redis.
func RedisTLS(t T, args ...string) *TLSServer {
	t.Helper()
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	server, client := ca.issue(t, dir, "server"), ca.issue(t, dir, "client")
	pair, err := tls.LoadX509KeyPair(client.Cert, client.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	s := launch(t, &RedisServer{
		dir: t.TempDir(),
		dial: func(addr string) (net.Conn, error) {
			return tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", addr,
				&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}})
		},
		args: func(port string) []string {
			return slices.Concat(volatile, []string{
				"--port", "0", "--tls-port", port, "--tls-auth-clients", "yes",
				"--tls-ca-cert-file", server.CA, "--tls-cert-file", server.Cert, "--tls-key-file", server.Key,
			}, args)
		},
	})
	query := url.Values{"tls_ca": {client.CA}, "tls_cert": {client.Cert}, "tls_key": {client.Key}}
	s.URL = "rediss://" + s.Addr + "?" + query.Encode()
	return &TLSServer{RedisServer: s, Client: client}
}

// authority is a CA of one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t T, dir string) *authority {
	t.Helper()
	ca := &authority{file: filepath.Join(dir, "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, ca.file, "CERTIFICATE", der)
	return ca
}

// issue makes a certificate that serves on loopback and as a client.
func (ca *authority) issue(t T, dir, name string) TLSFiles {
	t.Helper()
	files := TLSFiles{CA: ca.file, Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{TLSServerName}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, files.Cert, "CERTIFICATE", der)
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	writePEM(t, files.Key, "PRIVATE KEY", der)
	return files
}

func newKey(t T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
