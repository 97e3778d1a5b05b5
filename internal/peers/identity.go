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

// Gateways speak over mutual TLS 1.3. From each key that they share each derives an
// Ed25519 key (HKDF), and shows a certificate of it that says nothing else: it is
// signed by itself, and its dates are not looked at. An end believes the other if it
// shows a key that it derives itself too. While a key is replaced gateways hold
// several; each shows the one that the other end announces, if it has that, and takes
// any.
type identity struct {
	certs []tls.Certificate
	names []string // of the keys, the first one first
}

// errKey is an end that shows no key of ours.
var errKey = errors.New("it has another key")

// keyPurpose is what the keys are derived for.
const keyPurpose = "gateway peers ed25519"

func newIdentity(keys [][]byte) (i identity, err error) {
	if len(keys) == 0 {
		return i, errors.New("peers share no key")
	}
	for _, k := range keys {
		if len(k) < 16 {
			return i, fmt.Errorf("a key of the peers has %d bytes, fewer than 16", len(k))
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

// inCommon is the first of our keys that an end announces, or else our first.
func (i identity) inCommon(fingerprint string) string {
	theirs := strings.Fields(fingerprint)
	for _, name := range i.names {
		if slices.Contains(theirs, name) {
			return name
		}
	}
	return i.names[0]
}

// mismatch says what two ends cannot do with what each has; "": nothing, or the other
// announces no keys.
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

// config is that of either end. What the standard library does with several
// certificates is what is wanted: a server shows the one whose name it is asked for,
// a client the one whose issuer the server names.
func (i identity) config() *tls.Config {
	pool := x509.NewCertPool()
	for _, c := range i.certs {
		pool.AddCert(c.Leaf)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: i.certs,
		ClientAuth: tls.RequireAnyClientCert, ClientCAs: pool,
		InsecureSkipVerify: true, // in favor of what follows, as its documentation has it
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
