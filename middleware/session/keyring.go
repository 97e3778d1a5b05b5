package session

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/jewgo/gateway/internal/atomicfile"
)

const keySize = 32 // bytes of a key

// Keyring holds the keys of one purpose. The first makes seals or signatures; all of them are
// accepted. To rotate, insert a new key as the second line on every gateway, then move it to the
// first line on every gateway, and remove old lines once nothing made with them is still valid. At
// every step each gateway accepts what the others make.
type Keyring struct{ keys []key }

type key struct {
	id     string        // 1 to 16 letters, digits, '-', '_'
	secret [keySize]byte // signs
	seals  []byte        // HKDF extract of secret, from which keys of seals are expanded
}

// LoadKeyring reads a keyring file: one line "id:key" for each key, newest first, where key is 32
// bytes in base64. Empty lines and lines that start with # are skipped. A missing file is created
// with one random key, readable by its owner only. A file that others may read or write is refused,
// since its keys are not secret.
func LoadKeyring(path string) (*Keyring, error) {
	text, err := atomicfile.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKeyring(path); err != nil {
			return nil, fmt.Errorf("make keyring: %w", err)
		}
		text, err = atomicfile.ReadSecret(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	return parseKeyring(path, text)
}

// PeekKeyring is LoadKeyring, but makes no file: if there is none, or it cannot be read, the keyring
// has a random key, and opens nothing that was made with another one.
func PeekKeyring(path string) (*Keyring, error) {
	text, err := atomicfile.ReadSecret(path)
	if err != nil {
		text = []byte(randomKey())
	}
	return parseKeyring(path, text)
}

// randomKey is the line of a new key.
func randomKey() string {
	var random [4 + keySize]byte
	_, _ = rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:4]) + ":" + base64.StdEncoding.EncodeToString(random[4:]) + "\n"
}

// makeKeyring makes a keyring of one random key. The file is durable when it returns, since cookies
// are sealed with its key from then on.
func makeKeyring(path string) error {
	if err := atomicfile.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	line := randomKey()
	return atomicfile.Create(atomicfile.OS{}, path, []byte(line))
}

func parseKeyring(path string, text []byte) (*Keyring, error) {
	ring := &Keyring{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		id, encoded, ok := strings.Cut(line, ":")
		secret, err := base64.StdEncoding.DecodeString(encoded)
		switch { // messages never quote a line: it may be a key
		case !ok || !validKeyID(id):
			return nil, fmt.Errorf("%s:%d: not id:key with an id of 1 to 16 letters, digits, - or _", path, n)
		case err != nil || len(secret) != keySize:
			return nil, fmt.Errorf("%s:%d: key %s is not %d bytes in base64", path, n, id, keySize)
		case ring.find(id) != nil:
			return nil, fmt.Errorf("%s:%d: duplicate key %s", path, n, id)
		}
		seals, err := hkdf.Extract(sha256.New, secret, []byte("gateway session seal"))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		ring.keys = append(ring.keys, key{id, [keySize]byte(secret), seals})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read keyring %s: %w", path, err)
	}
	if len(ring.keys) == 0 {
		return nil, fmt.Errorf("%s: no key", path)
	}
	return ring, nil
}

// Derive returns, for each key in order, a 32-byte key for another purpose, made by HKDF-SHA256.
// Gateways with a common key derive the same one from it. The derived key reveals nothing about the
// keyring.
func (r *Keyring) Derive(purpose string) ([][]byte, error) {
	derived := make([][]byte, len(r.keys))
	for i, k := range r.keys {
		var err error
		if derived[i], err = hkdf.Key(sha256.New, k.secret[:], []byte("gateway derived key"), purpose, keySize); err != nil {
			return nil, err
		}
	}
	return derived, nil
}

func validKeyID(id string) bool {
	for _, c := range []byte(id) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 16
}

// find returns the key with that ID, or nil.
func (r *Keyring) find(id string) *key {
	for i := range r.keys {
		if r.keys[i].id == id {
			return &r.keys[i]
		}
	}
	return nil
}
