package session_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jewgo/gateway/middleware/session"
)

func TestAMissingKeyringIsMadeOnceForItsOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "session.keys")
	rings := make([]*session.Keyring, 8)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			var err error
			if rings[i], err = session.LoadKeyring(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	value := mustSeal(t, session.NewSealer(rings[0]), sampleSeal())
	for i, ring := range rings {
		if _, err := session.NewSealer(ring).Open(cookieName, host, value, start); err != nil {
			t.Errorf("start %d has other keys than start 0: %v", i, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left in the folder: %v", files)
	}
}

func TestAKeyringThatOthersCanReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session.keys")
	if _, err := session.LoadKeyring(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o644, 0o660, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := session.LoadKeyring(path)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprintf("%04o", mode)) {
			t.Errorf("mode %v: %v, want an error with file and mode", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := session.LoadKeyring(path); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
}

func TestKeyringFiles(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))
	for _, tt := range []struct{ says, text, want string }{
		{"comments and empty lines are skipped", "# rotated\n\n k1:" + secret + " \nk2:" + secret + "\n", ""},
		{"there must be a key", "# nothing\n", ": no key"},
		{"a line has an ID", secret + "\n", ":1: not id:key"},
		{"an ID has no dot, which separates in tokens", "a.b:" + secret, ":1: not id:key"},
		{"an ID is short", strings.Repeat("k", 17) + ":" + secret, ":1: not id:key"},
		{"a key is 32 bytes", "k1:" + secret + "\nk2:" + secret[:40], ":2: key k2 is not 32 bytes"},
		{"a key is base64", "k1:" + strings.Repeat("!", 44), ":1: key k1 is not 32 bytes"},
		{"IDs are unique", "k1:" + secret + "\nk1:" + secret, ":2: duplicate key k1"},
		{"a file is small", strings.Repeat("#\n", 40_000), "is larger than 65536 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "ring.keys")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		switch _, err := session.LoadKeyring(path); {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.says, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %v, want %q with the file's name", tt.says, err, tt.want)
		case err != nil && strings.Contains(err.Error(), secret[:20]):
			t.Errorf("%s: the message tells a key: %v", tt.says, err)
		}
	}
}

func TestADerivedKeyIsOfOneKeyAndOnePurpose(t *testing.T) {
	derive := func(letters, purpose string) [][]byte {
		t.Helper()
		keys, err := ringOf(t, letters).Derive(purpose)
		if err != nil || len(keys) != len(letters) || len(keys[0]) != 32 {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		return keys
	}
	ab, ba := derive("ab", "peers"), derive("ba", "peers")
	if !bytes.Equal(ab[0], ba[1]) || !bytes.Equal(ab[1], ba[0]) || !bytes.Equal(derive("a", "peers")[0], ab[0]) {
		t.Error("gateways get different ones for a key that they have in common, or in another order")
	}
	if bytes.Equal(ab[0], ab[1]) || bytes.Equal(derive("ab", "other")[0], ab[0]) || string(ab[0]) == strings.Repeat("a", 32) {
		t.Error("another key or purpose gives the same, or it is the keyring's own")
	}
}
