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
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jewgo/gateway/internal/atomicfile"
)

const (
	keySize    = 32       // bytes of a key
	maxKeyring = 64 << 10 // bytes of a keyring file
)

// Keyring holds the keys of one purpose. The first makes seals or signatures,
// all accept them. To rotate, put a new line second on every gateway, then first
// on every gateway, and drop old lines once nothing made with them can be alive:
// what one gateway makes is accepted by all others at every step.
type Keyring struct{ keys []key }

type key struct {
	id     string        // 1 to 16 letters, digits, '-', '_'
	secret [keySize]byte // signs
	seals  []byte        // extracted from it: what keys of seals are expanded from
}

// LoadKeyring reads a keyring file: a line "id:key" a key, newest first, the key
// being 32 bytes in base64; empty lines and lines that start with # are skipped.
// A missing file is made, with one random key, for its owner alone. A file that
// others may read or write is refused: its keys are no secret.
func LoadKeyring(path string) (*Keyring, error) {
	text, err := readKeyring(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKeyring(path); err != nil {
			return nil, fmt.Errorf("make keyring: %w", err)
		}
		text, err = readKeyring(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	return parseKeyring(path, text)
}

func readKeyring(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: others than its owner have access; chmod 600 it", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyring+1))
	if err == nil && len(text) > maxKeyring {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxKeyring)
	}
	return text, err
}

// makeKeyring makes a keyring of one random key. It returns when a crash can no
// longer lose the file: cookies are sealed with its key from then on.
func makeKeyring(path string) error {
	if err := atomicfile.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	var random [4 + keySize]byte
	_, _ = rand.Read(random[:]) // never fails
	line := hex.EncodeToString(random[:4]) + ":" + base64.StdEncoding.EncodeToString(random[4:]) + "\n"
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
		switch { // no message quotes a line: it may be a key
		case !ok || !validKeyID(id):
			return nil, fmt.Errorf("%s:%d: not id:key with an id of 1 to 16 letters, digits, - or _", path, n)
		case err != nil || len(secret) != keySize:
			return nil, fmt.Errorf("%s:%d: key %s is not %d bytes in base64", path, n, id, keySize)
		case ring.find(id) != nil:
			return nil, fmt.Errorf("%s:%d: key %s stands here twice", path, n, id)
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

// Derive returns for each key, in their order, one of 32 bytes for another
// purpose, made by HKDF-SHA256: gateways that have a key in common get the same
// for it, and what is done with it says nothing about the keyring.
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
