package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

// The commands of docs/limits.md, in front of the demo's backend. Those of a section with a policy
// are for that one, the others for the page's first.
func TestLimitsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	backend, end, err := startBackend(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	var first func(line string) string
	commands := 0
	for i, section := range strings.Split(string(page), "\n## ") {
		enter, blocks := first, consoles(section)
		if text := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(section); text != nil && len(blocks) > 0 {
			enter = startLimitsPolicy(t, text[1], backend)
		}
		if first == nil {
			first = enter
		}
		if len(blocks) > 0 && enter == nil {
			t.Fatalf("section %d has commands before the first policy", i)
		}
		for _, block := range blocks {
			commands += typed(t, block, enter)
		}
	}
	if commands != 25 {
		t.Errorf("%d commands were tried", commands)
	}
}

// startLimitsPolicy serves a policy of docs/limits.md, and returns what types a line of its section.
func startLimitsPolicy(t *testing.T, policy, backend string) (enter func(line string) string) {
	t.Helper()
	const redis = "redis://127.0.0.1:6379"
	shared := strings.Contains(policy, redis)
	if shared {
		policy = strings.ReplaceAll(policy, redis, env.Redis(t).URL)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	writePolicy(t, file, strings.ReplaceAll(policy, "http://127.0.0.1:5000", backend))
	g := start(t, nil, "run", "--config", file)
	if shared {
		g.stderr.await(t, "redis is in use")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("http://127.0.0.1:8080", g.base, "http://127.0.0.1:9901", g.admin)
	verb := regexp.MustCompile(`^gateway limits \w+`)
	program := regexp.MustCompile(`^gateway `)
	return func(line string) string {
		line = verb.ReplaceAllString(here.Replace(line), fmt.Sprintf("$0 --admin %s", strings.TrimPrefix(g.admin, "http://")))
		return shell(t, dir, program.ReplaceAllString(line, path+" "))
	}
}
