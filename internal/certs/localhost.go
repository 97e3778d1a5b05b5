package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/policy"
)

// localhostLife is the lifetime of the certificate for localhost, and localhostRest what it must have left
// to be used again.
const (
	localhostLife = 365 * 24 * time.Hour
	localhostRest = 30 * 24 * time.Hour
)

// Localhost returns a certificate for localhost, 127.0.0.1 and ::1, for development. It is signed by itself
// and kept in dir. Clients must be told to trust it.
func Localhost(dir string, now time.Time) (policy.CertificateDef, error) {
	def := policy.CertificateDef{CertFile: filepath.Join(dir, "localhost.pem"), KeyFile: filepath.Join(dir, "localhost.key")}
	if p := readPair(def); p.problem == nil && now.Add(localhostRest).Before(p.certificate.Leaf.NotAfter) {
		return def, nil
	}
	if err := atomicfile.MkdirAll(dir); err != nil {
		return def, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return def, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return def, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "gateway, for development"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(localhostLife),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return def, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return def, err
	}
	for path, block := range map[string]*pem.Block{def.CertFile: {Type: "CERTIFICATE", Bytes: signed}, def.KeyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := atomicfile.Replace(atomicfile.OS{}, path, pem.EncodeToMemory(block)); err != nil {
			return def, fmt.Errorf("certificate for localhost: %w", err)
		}
	}
	return def, nil
}
