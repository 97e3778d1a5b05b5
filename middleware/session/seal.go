package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jewgo/gateway/internal/packed"
)

var (
	// ErrInvalid means that a cookie is not a live session. It does not say why: altered, foreign and
	// forged seals and those of a retired key look the same.
	ErrInvalid = errors.New("invalid session cookie")
	// ErrExpired is the ErrInvalid of a seal past one of its deadlines. Only the log tells them apart.
	ErrExpired = fmt.Errorf("%w: expired", ErrInvalid)
)

const (
	sealVersion = 1
	saltSize    = 16
	// maxCookie bounds name and value, in bytes. RFC 6265, 6.1, grants 4096 to a cookie with its
	// attributes.
	maxCookie = 3900
)

// sealText is strict and without padding, so that each seal has exactly one spelling.
var sealText = base64.RawURLEncoding.Strict()

// Sealer makes and opens session cookies.
type Sealer struct{ keys *Keyring }

// NewSealer returns a Sealer that seals with the first of keys and opens with any.
func NewSealer(keys *Keyring) Sealer { return Sealer{keys} }

// Seal returns the value of the cookie name for host; it only opens under that name and host. It is
// base64url of: version, length of the key's ID, ID, salt, nonce, ciphertext, tag. Each seal has its
// own AES-256 key, derived by HKDF (RFC 5869), so nonces cannot collide however many seals are made.
func (s Sealer) Seal(name, host string, seal Seal) (string, error) {
	k := &s.keys.keys[0]
	b := make([]byte, 0, 512)
	b = append(b, sealVersion, byte(len(k.id)))
	b = append(b, k.id...)
	salt := len(b)
	b = b[:salt+saltSize]
	_, _ = rand.Read(b[salt:]) // never fails
	aead, err := k.aead(b[salt:])
	if err != nil {
		return "", err
	}
	b = aead.Seal(b, nil, seal.appendTo(make([]byte, 0, 256)), associated(name, host))
	if n := len(name) + sealText.EncodedLen(len(b)); n > maxCookie {
		return "", fmt.Errorf("%w: a cookie of %d bytes, at most %d", ErrTooLarge, n, maxCookie)
	}
	return sealText.EncodeToString(b), nil
}

// Open returns the Seal in a cookie's value, or ErrInvalid.
func (s Sealer) Open(name, host, value string, now time.Time) (Seal, error) {
	seal, ok := s.open(name, host, value)
	switch {
	case !ok:
		return Seal{}, ErrInvalid
	case !now.Before(seal.Idle) || !now.Before(seal.Absolute):
		return Seal{}, ErrExpired
	}
	return seal, nil
}

func (s Sealer) open(name, host, value string) (seal Seal, ok bool) {
	if len(name)+len(value) > maxCookie {
		return seal, false
	}
	b, err := sealText.DecodeString(value)
	if err != nil || sealText.EncodedLen(len(b)) != len(value) { // the decoder skips line breaks
		return seal, false
	}
	c := packed.Reader{Rest: b}
	version := c.Byte()
	k := s.keys.find(string(c.Bytes(uint64(c.Byte()))))
	salt := c.Bytes(saltSize)
	if c.Bad || version != sealVersion || k == nil {
		return seal, false
	}
	aead, err := k.aead(salt)
	if err != nil {
		return seal, false
	}
	plain, err := aead.Open(nil, nil, c.Rest, associated(name, host))
	if err != nil {
		return seal, false
	}
	return parseSeal(plain)
}

// aead derives the cipher of one seal.
func (k *key) aead(salt []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Expand(sha256.New, k.seals, string(salt), keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// associated is the data that a seal is bound to but does not carry.
func associated(name, host string) []byte {
	return append(packed.AppendText(make([]byte, 0, 64), name), host...)
}

// appendTo appends the seal's content: ID, generation, issue time, idle and absolute deadline in Unix
// milliseconds, user, number of roles, roles. If there ever were cookies, Apart follows and, unless
// it is set, the Jar.
func (s Seal) appendTo(b []byte) []byte {
	b = append(b, s.ID[:]...)
	b = binary.AppendUvarint(b, s.Generation)
	for _, t := range []time.Time{s.Issued, s.Idle, s.Absolute} {
		b = binary.AppendUvarint(b, uint64(t.UnixMilli()))
	}
	b = packed.AppendTexts(packed.AppendText(b, s.User), s.Roles)
	switch {
	case s.Apart:
		return append(b, 1)
	case !s.Jar.Changed.IsZero():
		return s.Jar.appendTo(append(b, 0))
	}
	return b
}

// parseSeal reads what appendTo wrote.
func parseSeal(b []byte) (s Seal, ok bool) {
	c := packed.Reader{Rest: b}
	copy(s.ID[:], c.Bytes(uint64(len(s.ID))))
	s.Generation = c.Uvarint()
	for _, t := range []*time.Time{&s.Issued, &s.Idle, &s.Absolute} {
		*t = time.UnixMilli(int64(c.Uvarint()))
	}
	s.User, s.Roles = c.Text(), c.Texts()
	if len(c.Rest) > 0 {
		if s.Apart = c.Byte() == 1; !s.Apart {
			s.Jar = readJar(&c)
		}
	}
	return s, c.Whole()
}
