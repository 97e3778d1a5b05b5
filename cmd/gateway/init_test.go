package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

// What init prints for a real Flask is valid, and served at once.
func TestInit(t *testing.T) {
	t.Parallel()
	flask := env.Flask(t)
	var policy, stderr bytes.Buffer
	if code := execute([]string{"init", "--to", flask, "/api/v5/restaurants?limit=50", "/api/v5/auth/csrf", "/api/v5/search/?q=a"}, &policy, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	for _, want := range []string{
		"health: {path: /healthz} ", "an ETag", `query: {allow: ["limit"]}`, "the cookie _csrf_token",
		"Cache-Control: public, max-age=300", `path: "/api/v5/search/{$}"`,
	} {
		if !strings.Contains(policy.String(), want) {
			t.Errorf("no %q in:\n%s", want, &policy)
		}
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, policy.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if code := execute([]string{"validate", file}, new(bytes.Buffer), &stderr); code != 0 {
		t.Errorf("validate: exit status %d: %s", code, &stderr)
	}
	g := start(t, nil, "run", "--config", file)
	for _, want := range []string{"stored", "hit"} {
		if a := g.get("/api/v5/search/?q=a"); a.StatusCode != 200 || !strings.Contains(cacheStatus(a), want) {
			t.Errorf("%s, Cache-Status %q, want %s", a.Status, cacheStatus(a), want)
		}
	}
	if a := g.do("POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"demo"}`, "Content-Type", "application/json"); a.StatusCode != 200 {
		t.Errorf("a write: %s", a.Status)
	}
}
