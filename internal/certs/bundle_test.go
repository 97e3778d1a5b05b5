package certs

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

const siteUnit = "certificates/ca/a.test"

func openStorage(t *testing.T, dir string) *storage {
	t.Helper()
	s, err := newStorage(&storage{dir: dir, now: time.Now, log: slog.New(slog.DiscardHandler), changed: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// site is a certificate, its key and its metadata, in the order in which certmagic stores them.
func site(t *testing.T, ca *env.CA) (files [][2]string) {
	t.Helper()
	f := ca.Issue(t, "a.test")
	for _, part := range [][2]string{{".key", f.Key}, {".crt", f.Cert}} {
		text, err := os.ReadFile(part[1])
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, [2]string{siteUnit + "/a.test" + part[0], string(text)})
	}
	return append(files, [2]string{siteUnit + "/a.test.json", `{"sans":["a.test"]}`})
}

func store(t *testing.T, s *storage, files ...[2]string) {
	t.Helper()
	for _, f := range files {
		if err := s.Store(t.Context(), f[0], []byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACertificateIsReplacedWhole(t *testing.T) {
	ca, dir := env.NewCA(t), t.TempDir()
	first, second := site(t, ca), site(t, ca)
	store(t, openStorage(t, dir), first...)
	for parts := range len(second) + 1 { // the process dies after each
		s := openStorage(t, dir)
		store(t, s, second[:parts]...)
		pair, err := openStorage(t, dir).load(siteUnit).pair()
		if err != nil {
			t.Fatalf("after %d parts: %v", parts, err)
		}
		text, err := os.ReadFile(fileOf(dir, siteUnit))
		if err != nil || len(pair.Certificate) != 1 || bytes.Contains(text, []byte("PRIVATE KEY")) {
			t.Errorf("after %d parts: the file is %s (%v)", parts, text, err)
		}
	}
	// What certmagic takes back, when it could not store all of it, is not the one before.
	s := openStorage(t, dir)
	store(t, s, first[0])
	if err := s.Delete(t.Context(), first[0][0]); err != nil {
		t.Fatal(err)
	}
	store(t, s, first[2])
	got, err := openStorage(t, dir).Load(t.Context(), second[1][0])
	if err != nil || string(got) != second[1][1] {
		t.Errorf("in the end: %s (%v), want the second certificate", got, err)
	}
}

// A first certificate without its metadata could be served, but not renewed.
func TestAFirstCertificateIsKeptWhole(t *testing.T) {
	dir := t.TempDir()
	parts := site(t, env.NewCA(t))
	store(t, openStorage(t, dir), parts[:2]...)
	if b := openStorage(t, dir).load(siteUnit); len(b.Files) > 0 {
		t.Errorf("after two of three parts there are %d files", len(b.Files))
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	dir, log := t.TempDir(), &bytes.Buffer{}
	store(t, openStorage(t, dir), site(t, env.NewCA(t))...)
	torn := filepath.Join(dir, "torn.json")
	if err := os.WriteFile(torn, []byte(`{"unit":"certificates/ca/b.test","files":{`), 0o600); err != nil {
		t.Fatal(err)
	}
	loose := filepath.Join(dir, "loose.json")
	if err := os.WriteFile(loose, []byte(`{}`), 0o604); err != nil {
		t.Fatal(err)
	}
	s, err := newStorage(&storage{dir: dir, now: time.Now, log: slog.New(slog.NewTextHandler(log, nil)), changed: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.load(siteUnit).pair(); err != nil {
		t.Errorf("the good one is lost: %v", err)
	}
	for _, want := range []string{torn, loose, "has mode 0604"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not told in:\n%s", want, log.String())
		}
	}
}

func TestStorageAsCertmagicSeesIt(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := openStorage(t, dir)
	const account, token = "acme/ca/users/me", "acme/ca/challenge_tokens/a.test.json"
	store(t, s, site(t, env.NewCA(t))...)
	store(t, s, [2]string{account + "/me.json", "{}"})
	if openStorage(t, dir).Exists(ctx, account+"/me.json") {
		t.Error("half an account is kept")
	}
	store(t, s, [2]string{account + "/me.key", "k"}, [2]string{token, "t"})
	if _, err := s.Load(ctx, "acme/ca/none/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of what is not there: %v", err)
	}
	for _, c := range []struct {
		prefix    string
		recursive bool
		want      string
	}{
		{"acme/ca", false, "acme/ca/challenge_tokens acme/ca/users"},
		{"acme/ca/users", false, "acme/ca/users/me"},
		{"acme/ca", true, token + " " + account + "/me.json " + account + "/me.key"},
		{"certificates/ca", false, siteUnit},
	} {
		if got, err := s.List(ctx, c.prefix, c.recursive); err != nil || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("list %s: %v (%v), want %s", c.prefix, got, err, c.want)
		}
	}
	if info, err := s.Stat(ctx, account+"/me.key"); err != nil || info.Size != 1 || !info.IsTerminal || info.Modified.IsZero() {
		t.Errorf("stat: %+v (%v)", info, err)
	}
	if err := errors.Join(s.Delete(ctx, token), s.Delete(ctx, account+"/me.key"), s.Delete(ctx, "none")); err != nil {
		t.Error(err)
	}
	again := openStorage(t, dir)
	if again.Exists(ctx, token) || again.Exists(ctx, account+"/me.key") || again.Exists(ctx, account+"/me.json") {
		t.Error("after a delete and a restart: more than what is left")
	}
	if err := again.Delete(ctx, siteUnit); err != nil || openStorage(t, dir).Exists(ctx, siteUnit+"/a.test.crt") {
		t.Errorf("a deleted folder is still there (%v)", err)
	}
}
