package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The commands of docs/sessions.md, with its policy in front of the demo's backend.
func TestSessionsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/sessions.md")
	if err != nil {
		t.Fatal(err)
	}
	backend, end, err := startBackend(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	dir := t.TempDir()
	policy := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(page))[1]
	writePolicy(t, filepath.Join(dir, "gateway.yaml"), strings.ReplaceAll(policy, "http://127.0.0.1:5000", backend))
	g := start(t, nil, "run", "--config", filepath.Join(dir, "gateway.yaml"))
	commands := 0
	for _, block := range consoles(string(page)) {
		commands += typed(t, block, func(line string) string {
			return shell(t, dir, strings.ReplaceAll(line, "http://127.0.0.1:8080", g.base))
		})
	}
	if commands != 5 {
		t.Errorf("%d commands were tried", commands)
	}
}
