package env

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
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
	dir := t.TempDir()
	ca := issue(t, nil, dir, "ca")
	server, client := issue(t, ca, dir, "server"), issue(t, ca, dir, "client")
	config := &tls.Config{
		RootCAs:      x509.NewCertPool(),
		Certificates: []tls.Certificate{{Certificate: [][]byte{client.cert.Raw}, PrivateKey: client.key}},
	}
	config.RootCAs.AddCert(ca.cert)
	s := launch(t, &RedisServer{
		dial: func(addr string) (net.Conn, error) {
			return tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", addr, config)
		},
		args: func(port string) []string {
			return volatile("0", append([]string{
				"--tls-port", port, "--tls-auth-clients", "yes",
				"--tls-ca-cert-file", ca.certFile, "--tls-cert-file", server.certFile, "--tls-key-file", server.keyFile,
			}, args...)...)
		},
	})
	files := TLSFiles{CA: ca.certFile, Cert: client.certFile, Key: client.keyFile}
	query := url.Values{"tls_ca": {files.CA}, "tls_cert": {files.Cert}, "tls_key": {files.Key}}
	s.URL = "rediss://" + s.Addr + "?" + query.Encode()
	return &TLSServer{RedisServer: s, Client: files}
}

// identity is a certificate with its key, in memory and in files.
type identity struct {
	cert              *x509.Certificate
	key               *ecdsa.PrivateKey
	certFile, keyFile string
}

// issue makes a certificate for a loopback server and for a client, signed by ca; nil: it makes a CA.
func issue(t T, ca *identity, dir, name string) *identity {
	t.Helper()
	own := &identity{certFile: filepath.Join(dir, name+".pem"), keyFile: filepath.Join(dir, name+".key")}
	own.key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{TLSServerName}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	template.Subject.CommonName = name
	parent, signer := template, own.key
	if ca == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, signer = ca.cert, ca.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, &own.key.PublicKey, signer))(t)
	own.cert = must(x509.ParseCertificate(der))(t)
	for _, f := range []struct {
		file, kind string
		der        []byte
	}{
		{own.certFile, "CERTIFICATE", der},
		{own.keyFile, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(own.key))(t)},
	} {
		if err := os.WriteFile(f.file, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return own
}
