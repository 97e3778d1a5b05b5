package certs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
)

// bundle is what belongs together: a certificate with its key and metadata, or an account with its key. It
// is written, sealed and compared as a whole, so that no crash or outage mixes the old with the new.
type bundle struct {
	Unit     string            `json:"unit"`
	Modified time.Time         `json:"modified"`
	Files    map[string][]byte `json:"files"` // by name, without folder
}

// unitOf returns the bundle to which a key of certmagic belongs: its folder. Tokens of challenges stand
// alone, since several gateways write them at once.
func unitOf(key string) (unit, name string) {
	if strings.Contains(key, "/challenge_tokens/") {
		return key, path.Base(key)
	}
	return path.Dir(key), path.Base(key)
}

// lasting reports whether a bundle is kept on disk. Challenges are over in minutes.
func lasting(unit string) bool {
	return strings.HasPrefix(unit, "certificates/") || strings.Contains(unit, "/users/")
}

// whole reports whether the bundle can be used as it is.
func (b bundle) whole() bool {
	switch {
	case strings.HasPrefix(b.Unit, "certificates/"):
		_, err := b.pair()
		return err == nil && len(b.Files) > 2 // with metadata, without which certmagic renews nothing
	case strings.Contains(b.Unit, "/users/"): // a registration and its key
		return len(b.Files) > 1
	}
	return len(b.Files) > 0
}

// later reports whether b replaces another bundle of its unit. Of certificates the server's clock decides,
// which is one for all gateways.
func (b bundle) later(than bundle) bool {
	mine, err := b.pair()
	theirs, err2 := than.pair()
	if err == nil && err2 == nil && !mine.Leaf.NotBefore.Equal(theirs.Leaf.NotBefore) {
		return mine.Leaf.NotBefore.After(theirs.Leaf.NotBefore)
	}
	return b.Modified.After(than.Modified)
}

// pair returns the certificate and key of a bundle of them.
func (b bundle) pair() (*tls.Certificate, error) {
	var certificate, key []byte
	for name, text := range b.Files {
		switch path.Ext(name) {
		case ".crt":
			certificate = text
		case ".key":
			key = text
		}
	}
	p, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// with returns a copy with a file set.
func (b bundle) with(name string, text []byte) bundle {
	b.Files = maps.Clone(b.Files)
	if b.Files == nil {
		b.Files = map[string][]byte{}
	}
	b.Files[name] = bytes.Clone(text)
	return b
}

func (b bundle) equal(as bundle) bool {
	return maps.EqualFunc(b.Files, as.Files, bytes.Equal)
}

// fileOf is where a bundle is kept: named for people, and by a hash, since units may be long.
func fileOf(dir, unit string) string {
	sum := sha256.Sum256([]byte(unit))
	return filepath.Join(dir, fmt.Sprintf("%.100s-%s.json", path.Base(unit), hex.EncodeToString(sum[:6])))
}

// readBundles reads the bundles of a folder. Those that cannot be read are left out, and told by problem.
func readBundles(dir string, problem func(error)) map[string]bundle {
	all := map[string]bundle{}
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problem(err)
	}
	for _, name := range names {
		if path.Ext(name.Name()) != ".json" {
			continue
		}
		file := filepath.Join(dir, name.Name())
		text, err := atomicfile.ReadSecret(file)
		var b bundle
		if err == nil {
			err = json.Unmarshal(text, &b)
		}
		if err == nil && !b.whole() {
			err = errors.New("incomplete")
		}
		if err != nil {
			problem(fmt.Errorf("%s: %w", file, err))
			continue
		}
		all[b.Unit] = b
	}
	return all
}

// sealer seals bundles for Redis with the first key and opens with any (AES-256-GCM, random nonces).
type sealer []cipher.AEAD

// newSealer takes keys of 32 bytes, at least one.
func newSealer(keys [][]byte) (sealer, error) {
	var s sealer
	for _, k := range keys {
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		s = append(s, aead)
	}
	if len(s) == 0 {
		return nil, errors.New("no key")
	}
	return s, nil
}

func (s sealer) seal(b bundle) ([]byte, error) {
	text, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	return s[0].Seal(nil, nil, text, []byte(b.Unit)), nil
}

// open opens a bundle of that unit. newest reports whether the first key sealed it.
func (s sealer) open(unit string, sealed []byte) (b bundle, newest, ok bool) {
	for i, aead := range s {
		text, err := aead.Open(nil, nil, sealed, []byte(unit))
		if err == nil && json.Unmarshal(text, &b) == nil && b.Unit == unit && b.whole() {
			return b, i == 0, true
		}
	}
	return bundle{}, false, false
}
