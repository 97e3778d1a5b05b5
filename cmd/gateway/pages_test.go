package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

// pages are those whose commands are typed in front of the demo's backend, and how many there are.
var pages = map[string]int{"limits.md": 25, "caching.md": 32, "sessions.md": 5, "troubleshoot.md": 10, "security.md": 5, "questions.md": 18, "metrics.md": 1}

// otherPages are typed by a test of their own.
var otherPages = map[string]string{
	"../README.md": "TestReadme", "admin.md": "TestAdminPage", "deploy.md": "TestDeployPage", "flask.md": "TestFlaskPage",
	"https.md": "TestHTTPSPage", "operations.md": "TestRestoreOfABackup", "redis.md": "TestRedisPage", "upgrade.md": "TestUpgradePage",
}

func TestPages(t *testing.T) {
	t.Parallel()
	for page, want := range pages {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			if commands := typePage(t, page); commands != want {
				t.Errorf("%d commands were typed, want %d", commands, want)
			}
		})
	}
}

// typePage types the commands of a page in front of the demo's backend, and returns how many there are.
// Those of a section with a policy are for that one, the others for the page's first.
func typePage(t *testing.T, name string) (commands int) {
	t.Helper()
	backend := demoBackend(t)
	var first func(line string) string
	for i, section := range strings.Split(document(t, name), "\n## ") {
		enter, blocks := first, consoles(section)
		if text := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(section); text != nil && (len(blocks) > 0 || first == nil) {
			enter = startPagePolicy(t, text[1], backend)
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
	return commands
}

// startPagePolicy serves a policy of a page, with its logs in gateway.log, and returns what types a line of its section.
func startPagePolicy(t *testing.T, policy, backend string) (enter func(line string) string) {
	t.Helper()
	const redis = `{url: "redis://127.0.0.1:6379"}`
	shared := strings.Contains(policy, redis)
	if shared { // with patience: this machine may stand still
		policy = strings.ReplaceAll(policy, redis, "{budget: 2s, url: "+env.Redis(t).URL+"}")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	writePolicy(t, file, strings.ReplaceAll(policy, "http://127.0.0.1:5000", backend))
	logs, err := os.OpenFile(filepath.Join(dir, "gateway.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close() })
	g := startAs(t, func(cmd *exec.Cmd) {
		cmd.Stdout, cmd.Stderr = io.MultiWriter(cmd.Stdout, logs), io.MultiWriter(cmd.Stderr, logs)
	}, "run", "--config", file)
	if shared {
		g.stderr.await(t, "redis is in use")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("http://127.0.0.1:8080", g.base, "http://127.0.0.1:9901", g.admin, "; grep", "; sleep 0.5; grep") // until the lines are written
	verb := regexp.MustCompile(`^gateway (?:(?:limits|cache|sessions) \w+|purge|warm|status|explain|changes|reload)|&& gateway reload`)
	program := regexp.MustCompile(`(^|; |&& )gateway `)
	return func(line string) string {
		line = verb.ReplaceAllString(here.Replace(line), fmt.Sprintf("$0 --admin %s", strings.TrimPrefix(g.admin, "http://")))
		return shell(t, dir, program.ReplaceAllString(line, "${1}"+path+" "))
	}
}

// document reads a page by its path from docs/.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// demoBackend serves the demo's backend until the test ends.
func demoBackend(t *testing.T) (base string) {
	t.Helper()
	base, end, err := startBackend(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return base
}

// documents are all Markdown files, by their path from docs/.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	if err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err == nil && d.IsDir() && slices.Contains([]string{".git", "bin", "data"}, d.Name()):
			return filepath.SkipDir
		case err != nil || d.IsDir() || filepath.Ext(path) != ".md":
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel("../../docs", path)
		found[name] = string(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// elsewhere says where the lines of sh blocks are run that no test types as they are.
var elsewhere = map[string]string{
	"make run":                          "scripts/fresh.sh",
	"make test":                         "scripts/fresh.sh",
	`make run ARGS="--https"`:           "TestHTTPSForDevelopment",
	"cd examples/flask":                 "TestFlaskPage, by env.FlaskIn",
	"cd examples/jewgo":                 "TestEndpoints, by env.Flask",
	"gunicorn app:app":                  "TestEndpoints, by env.Flask",
	"apt-get install":                   "TestDeployPage",
	"IDENTITY_KEYS=identity.keys":       "TestFlaskPage, by env.FlaskIn",
	"curl 'http://127.0.0.1:5000":       "TestEndpoints",
	"redis-server --port 6380":          "TestRedisPage, by env.Redis",
	"REDIS_URL=redis://127.0.0.1:6380":  "TestRedisPage, by startDemoWith",
	"go test ":                          "TestTestsInDocs finds the tests",
	"make build":                        "TestDeployPage",
	"make bench":                        "TestSmoke of cmd/gateway-bench",
	"go tool pprof":                     "TestSmoke of cmd/gateway-bench",
	"install bin/gateway":               "TestDeployPage",
	"systemctl restart gateway":         "TestDeployPage",
	"make release VERSION=":             "TestRelease",
	"cd deploy/compose":                 "TestRestartsUnderLoad, without containers, by startCompose",
	"docker ":                           "no engine: TestRestartsUnderLoad has the gateways and the balancer, TestCompose the file",
	"kubectl ":                          "no cluster: TestKubernetes decodes the files",
	"mkdir -p tls":                      "TestCompose",
	"openssl req -x509":                 "TestCompose",
	"chgrp 65532 tls":                   "TestCompose",
	"chmod 640 tls":                     "TestCompose",
	"curl --cacert tls/tls.crt https:/": "TestRestartsUnderLoad",
}

// TestEveryCommandIsRun finds commands in the documents that nobody runs.
func TestEveryCommandIsRun(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")
	used := map[string]bool{}
	for page, text := range documents(t) {
		for _, found := range block.FindAllStringSubmatch(text, -1) {
			kind, lines := found[1], strings.Split(strings.TrimSpace(found[2]), "\n")
			switch {
			case kind == "console" && pages[page] == 0 && otherPages[page] == "":
				t.Errorf("%s: nobody types its commands", page)
			case kind == "" && regexp.MustCompile(`(?m)^(\$|curl|make|gateway|go) `).MatchString(found[2]):
				t.Errorf("%s: commands in a block without a language: %s", page, lines[0])
			case kind != "sh" || page == "deploy.md" && slices.Contains(deployed(t), found[2]):
				continue
			}
			for _, line := range lines {
				by := false
				for prefix := range elsewhere {
					if kind == "sh" && strings.HasPrefix(line, prefix) {
						by, used[prefix] = true, true
					}
				}
				if kind == "sh" && !by {
					t.Errorf("%s: nobody runs %s", page, line)
				}
			}
		}
	}
	for prefix := range elsewhere {
		if !used[prefix] {
			t.Errorf("%s is in no document", prefix)
		}
	}
}
