package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
)

// secrets are the keys of a gateway. Missing ones are made at the first start, in
// data_dir unless the policy names a file.
type secrets struct {
	session, identity *session.Keyring
	adminToken        string
}

// loadSecrets reads the secrets, makes those that are missing, and logs which.
func loadSecrets(p *policy.Policy, log *slog.Logger) (*secrets, error) {
	var missing []string
	for _, file := range []string{p.Session.KeysFile, p.Session.Identity.KeysFile, tokenFile(&p.Server)} {
		if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, file)
		}
	}
	var s secrets
	var err error
	if s.session, err = session.LoadKeyring(p.Session.KeysFile); err != nil {
		return nil, fmt.Errorf("session keys: %w", err)
	}
	if s.identity, err = session.LoadKeyring(p.Session.Identity.KeysFile); err != nil {
		return nil, fmt.Errorf("identity keys: %w", err)
	}
	if s.adminToken, err = loadToken(tokenFile(&p.Server)); err != nil {
		return nil, fmt.Errorf("admin token: %w", err)
	}
	if len(missing) > 0 {
		log.Info("made new keys, since these files were not there", "files", missing)
	}
	return &s, nil
}

// peekSecrets is loadSecrets without the token, and makes no files: without them, nothing opens.
func peekSecrets(p *policy.Policy) (*secrets, error) {
	var s secrets
	var err error
	if s.session, err = session.PeekKeyring(p.Session.KeysFile); err != nil {
		return nil, fmt.Errorf("session keys: %w", err)
	}
	if s.identity, err = session.PeekKeyring(p.Session.Identity.KeysFile); err != nil {
		return nil, fmt.Errorf("identity keys: %w", err)
	}
	return &s, nil
}

// loadToken reads a token, or makes one in a file that only its owner may read.
func loadToken(path string) (string, error) {
	text, err := atomicfile.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := atomicfile.Create(atomicfile.OS{}, path, []byte(rand.Text()+"\n")); err != nil {
			return "", fmt.Errorf("make it: %w", err)
		}
		text, err = atomicfile.ReadSecret(path)
	}
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return token, nil
}
