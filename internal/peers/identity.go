package peers

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Gateways use mutual TLS 1.3. Each derives an Ed25519 key (HKDF) from each shared key, and
// presents a self-signed certificate of it without further information; dates are not checked. An
// end trusts the other if the presented key is one that it derives itself. While a shared key is
// being replaced, gateways hold several. Each presents the one that the other end announces, if it
// has it, and accepts all of its own.
type identity struct {
	certs []tls.Certificate
	names []string // fingerprints of the keys, in the order of the keys
}

// errKey means that the other end presented none of our keys.
var errKey = errors.New("it has another key")

// keyPurpose is the HKDF info for these keys.
const keyPurpose = "gateway peers ed25519"

func newIdentity(keys [][]byte) (i identity, err error) {
	if len(keys) == 0 {
		return i, errors.New("peers need a shared key")
	}
	for _, k := range keys {
		if len(k) < 16 {
			return i, fmt.Errorf("a shared key of the peers has %d bytes, fewer than 16", len(k))
		}
		seed, err := hkdf.Key(sha256.New, k, nil, keyPurpose, ed25519.SeedSize)
		if err != nil {
			return i, err
		}
		private := ed25519.NewKeyFromSeed(seed)
		sum := sha256.Sum256(private.Public().(ed25519.PublicKey))
		name := hex.EncodeToString(sum[:16])
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
		if err != nil {
			return i, err
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return i, err
		}
		i.certs = append(i.certs, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf})
		i.names = append(i.names, name)
	}
	return i, nil
}

// inCommon returns the first of our keys that the other end announces, or else our first.
func (i identity) inCommon(fingerprint string) string {
	theirs := strings.Fields(fingerprint)
	for _, name := range i.names {
		if slices.Contains(theirs, name) {
			return name
		}
	}
	return i.names[0]
}

// mismatch describes a problem between the other end's keys and ours; "" if there is none, or if
// the other end announces no keys.
func (i identity) mismatch(fingerprint string) string {
	theirs := strings.Fields(fingerprint)
	switch {
	case len(theirs) == 0 || slices.Contains(theirs, i.names[0]):
		return ""
	case !slices.Contains(theirs, i.inCommon(fingerprint)):
		return "has no key in common with this gateway"
	}
	return "lacks the key that this gateway seals with"
}

// config is the TLS configuration of either end. With several certificates the standard library
// does what is needed: a server presents the one whose name is asked for, a client the one whose
// issuer the server names.
func (i identity) config() *tls.Config {
	pool := x509.NewCertPool()
	for _, c := range i.certs {
		pool.AddCert(c.Leaf)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: i.certs,
		ClientAuth: tls.RequireAnyClientCert, ClientCAs: pool,
		InsecureSkipVerify: true, // replaced by VerifyConnection, as the documentation allows
		VerifyConnection:   i.verify,
	}
}

func (i identity) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errKey
	}
	theirs, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || !slices.ContainsFunc(i.certs, func(c tls.Certificate) bool { return theirs.Equal(c.Leaf.PublicKey) }) {
		return errKey
	}
	return nil
}
